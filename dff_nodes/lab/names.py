# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Names of everything a lab makes: they tell whose it is, and whether that lab still lives."""

from __future__ import annotations

import os
import re
from pathlib import Path

NAME = re.compile(r'dfflab-(\d+)-(\d+)(-.*)?')


def prefix() -> str:
    """Give what the names of this process's lab begin with."""
    return f'dfflab-{os.getpid()}-{_started(os.getpid())}'


def is_left_over(name: str) -> bool:
    """Whether a thing with this name was made by a lab whose process is gone."""
    found = NAME.fullmatch(name)
    # The start time tells a lab from a later process that was given the same number.
    return found is not None and _started(int(found[1])) != found[2]


def _started(pid: int) -> str | None:
    """Give when a process was started, in clock ticks since boot; None if it is gone."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    # The command's name, in parentheses, may hold spaces and parentheses itself.
    state, *rest = text.rpartition(')')[2].split()
    return None if state == 'Z' else rest[18]
