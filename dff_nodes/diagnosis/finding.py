# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A finding: one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

OK = 'ok'
WARNING = 'warning'
PROBLEM = 'problem'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    name: str
    value: str
    """What was found."""
    status: str = OK
    """OK, WARNING (some uses will not work, or badly) or PROBLEM (dff_nodes does not work)."""
    advice: str = ''
    """What to do; empty when there is nothing to do."""
