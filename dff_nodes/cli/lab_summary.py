# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the devices of a lab had and used, printed after a run."""

from __future__ import annotations

from typing import Any, TextIO

from rich.text import Text

from dff_nodes.cli.tables import make_console, table, title
from dff_nodes.runs import units

COLUMNS = ['device', 'nodes', 'peak memory >', 'CPU >', 'sent >', 'received >', 'lost >', 'full >']


def print_lab(report: dict[str, Any], stream: TextIO) -> None:
    """
    Print the table of the devices.

    :param report: as Lab.report gives it.
    """
    console = make_console(stream)
    title(console, 'Devices')
    rows = [_row(name, used) for name, used in report['devices'].items()]
    console.print(table(console, COLUMNS, rows))
    if report['loss_tool']:
        lost = f'{units.percent(report["loss"])} of the frames, by {report["loss_tool"]}'
        console.print(Text(f' lost: {lost}'))


def _row(name: str, used: dict[str, Any]) -> list[str]:
    killed = used['out_of_memory_kills']
    memory = units.megabytes(used['peak_memory_mb'])
    if used['memory_mb'] is not None:
        memory += f' of {units.megabytes(used["memory_mb"])}'
    return [
        name,
        ', '.join(used['nodes']) or 'all',
        memory + (f', {killed} killed' if killed else ''),
        units.duration(used['cpu_seconds']),
        units.size(used['sent_bytes']),
        units.size(used['received_bytes']),
        units.number(used['lost_frames']),
        units.number(used['overflowed_frames']),
    ]
