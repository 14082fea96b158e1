# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is raised for a request that is wrong, and how it shows what was asked for."""

from __future__ import annotations

from typing import Any


class ConfigError(ValueError):
    """A request that cannot be carried out; the message names the field, value and remedy."""


def shown(value: Any) -> str:
    """Write a value as it would stand in a configuration file."""
    if value is None or isinstance(value, bool):
        return {None: 'null', True: 'true', False: 'false'}[value]
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(shown(each) for each in value)}]'
    if isinstance(value, dict):
        return f'{{{", ".join(f"{key}: {shown(each)}" for key, each in value.items())}}}'
    return repr(value)
