# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Quantities as people write them in options: 600M, 100mbit, 1%."""

from __future__ import annotations

import re

from dff_nodes.runs.errors import ConfigError

QUANTITY = re.compile(r'(\d+(?:\.\d*)?|\.\d+)\s*([a-z%/]*)', re.IGNORECASE)
LINK_MBIT = {'kbit': 1e-3, 'mbit': 1, 'gbit': 1e3}
LATENCY_MS = {'us': 1e-3, 'ms': 1, 's': 1e3}


def quantity(option: str, text: str, units: dict[str, float], example: str) -> float:
    """Read a number with a unit."""
    found = QUANTITY.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise ConfigError(f'{option} takes a number with its unit, as {example}, got {text!r}')
    return float(found[1]) * units[found[2].lower()]


def link_mbit(text: str) -> float:
    """Read --link, a rate as 100mbit or 1gbit, in Mbit/s; raises ConfigError for any other."""
    rate = quantity('--link', text, LINK_MBIT, '100mbit or 1gbit')
    if rate <= 0:
        raise ConfigError(f'--link must be more than 0, as 100mbit or 1gbit, got {text!r}')
    return rate
