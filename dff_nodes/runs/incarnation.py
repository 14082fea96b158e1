# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Counts how often a node was started for a run, so that peers can tell old from new."""

from __future__ import annotations

from pathlib import Path

from dff_nodes.runs.atomic import write_atomically


def next_incarnation(folder: Path, node: str) -> int:
    """
    Raise and give a node's incarnation, kept in a small file: 1 at the first start.

    Raises OSError if the folder cannot be written.
    """
    file = folder / f'{node}.incarnation'
    try:
        last = int(file.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    write_atomically(file, str(last + 1).encode())
    return last + 1
