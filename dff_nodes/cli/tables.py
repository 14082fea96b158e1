# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal, and the same without frames and colours in a pipe."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 110


def make_console(stream: TextIO) -> Console:
    """Make a console; a pipe gets a width of its own, since it has none."""
    if stream.isatty():
        return Console(file=stream)
    return Console(file=stream, width=PIPE_WIDTH, color_system=None)


def title(console: Console, text: str) -> None:
    """Print a heading with a line of space before it."""
    console.print()
    console.print(Text(text, style='bold'))


def table(
    console: Console, columns: list[str], rows: list[list[str]], lines: bool = False
) -> Table:
    """
    Make a table.

    :param columns: headings; one that ends in ` >` is of figures, aligned right.
    :param lines: draw a line between rows, for cells that take several lines.
    """
    made = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        header_style='dim' if console.is_terminal else '',
        padding=(0, 1),
        pad_edge=True,
        show_lines=lines and console.is_terminal,
    )
    for index, column in enumerate(columns):
        justify = 'right' if column.endswith(' >') else 'left'
        made.add_column(column.removesuffix(' >'), justify=justify, no_wrap=index == 0)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def facts(console: Console, named: dict[str, str]) -> Table:
    """Make a table of names and what they are."""
    made = Table(box=None, show_header=False, padding=(0, 1), pad_edge=True)
    made.add_column(style='dim' if console.is_terminal else '', no_wrap=True)
    made.add_column(overflow='fold')
    for name, text in named.items():
        made.add_row(name, Text(text))
    return made
