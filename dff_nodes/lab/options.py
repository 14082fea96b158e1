# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Options of the lab as people write them: 600M, 100mbit, 1%."""

from __future__ import annotations

from dff_nodes.runs.options import LINK_MBIT, quantity

MEMORY_MB = {'k': 1e-3, 'kb': 1e-3, 'm': 1, 'mb': 1, 'g': 1e3, 'gb': 1e3}
LOSS_PERCENT = {'%': 1}


def lab_overrides(
    devices: str | None = None,
    cpu: str | None = None,
    memory: str | None = None,
    link: str | None = None,
    loss: str | None = None,
) -> list[str]:
    """
    Write the options that were given as overrides of the configuration: lab.memory_mb=600.

    :raises ConfigError: if an option is not a quantity in a unit of its own.
    """
    values = {
        'devices': devices,
        'cpu': cpu,
        'memory_mb': memory and quantity('--memory', memory, MEMORY_MB, '600M or 2G'),
        'link_mbit': link and quantity('--link', link, LINK_MBIT, '100mbit or 1gbit'),
        'loss_percent': loss and quantity('--loss', loss, LOSS_PERCENT, '1% or 0.5%'),
    }
    return [f'lab.{key}={value}' for key, value in values.items() if value is not None]
