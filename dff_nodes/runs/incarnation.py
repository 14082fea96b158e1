# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Counts how often a node was started for a run, so that peers can tell old from new."""

from __future__ import annotations

from pathlib import Path

from dff_nodes.runs.atomic import sweep, write_atomically


def next_incarnation(folder: Path, node: str, known: int = 0) -> int:
    """
    Raise and give a node's incarnation, kept in a small file: 1 at the first start.

    :param known: highest one that is known from elsewhere; it counts if the file does not say.
    :raises OSError: if the folder cannot be written.
    """
    file = folder / f'{node}.incarnation'
    sweep(folder, file.name)
    try:
        last = int(file.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    incarnation = max(last, known) + 1
    write_atomically(file, str(incarnation).encode())
    return incarnation
