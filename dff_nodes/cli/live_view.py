# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run on a terminal: progress, a row for each layer, and what needs attention above it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dff_nodes.cli.view import (
    Event,
    describe_epoch,
    describe_evaluation,
    describe_speed,
    describe_waiting,
)
from dff_nodes.runs import units

EVALUATIONS_SHOWN = 3
WAITING_SHOWN = 2
OTHER_LINES = 12
"""lines that everything but the rows of the layers may take"""
STATE_STYLES = {'training': 'green', 'done': 'green', 'waiting': 'yellow', 'error': 'bold red'}
WARNING_STYLES = {'warning': 'yellow', 'error': 'bold red'}


@dataclass(frozen=True)
class Column:
    """A column of the layers' table."""

    title: str
    cell: Callable[[dict[str, Any]], str]
    from_width: int = 0
    """terminals narrower than this leave it out"""
    justify: str = 'right'


def _figure(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda layer: units.number(layer.get(key))


def _name(layer: dict[str, Any]) -> str:
    host = layer.get('host')
    return f'{layer.get("name") or units.DASH}' + (f' @ {host}' if host else '')


COLUMNS = (
    Column('layer', _name, justify='left'),
    Column('state', lambda layer: layer.get('state') or units.DASH, justify='left'),
    Column('items/s', _figure('items_per_second'), 40),
    Column('loss', _figure('loss'), 50),
    Column('goodness +', _figure('positive_goodness'), 72),
    Column('goodness -', _figure('negative_goodness'), 72),
    Column('queue', _figure('input_queue'), 84),
    Column('memory', lambda layer: units.megabytes(layer.get('rss_mb')), 92),
    Column('waiting for', lambda layer: layer.get('waiting_for') or '', 124, 'left'),
)
WAITING_COLUMN_FROM = COLUMNS[-1].from_width


class LiveView:
    """Draws the state of a run over and over at the same place; warnings stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = 'starting'
        self._progress: Event = {}
        self._evaluations: deque[Event] = deque(maxlen=EVALUATIONS_SHOWN)
        self._live: Live | None = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=4,
            transient=True,
        )
        self._live.start()

    def handle(self, event: Event) -> None:
        """Show one event."""
        kind = event.get('event')
        if kind == 'phase':
            self._phase = event.get('text') or ''
        elif kind == 'progress':
            self._progress, self._phase = event, ''
        elif kind == 'evaluation':
            self._evaluations.append(event)
        elif kind in WARNING_STYLES:
            self._console.print(Text(f'{kind}: {event.get("text")}', style=WARNING_STYLES[kind]))
        elif kind == 'result':
            self.close()

    def close(self) -> None:
        """Take the live area away and show the cursor again."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> RenderableType:
        """Draw the state as it is now, to fit the terminal as it is now."""
        layers = self._progress.get('layers') or []
        parts: list[RenderableType] = [self._header()]
        if self._progress:
            parts.append(self._bar())
        if layers:
            parts += [self._table(layers), *self._waiting(layers)]
        parts += [
            Text(describe_evaluation(each), overflow='ellipsis', no_wrap=True)
            for each in self._evaluations
        ]
        return Group(*parts)

    def _header(self) -> Text:
        if self._phase:
            return Text(self._phase, style='bold', overflow='ellipsis', no_wrap=True)
        text = Text(
            describe_epoch(self._progress), style='bold', no_wrap=True, overflow='ellipsis'
        )
        return text.append(f'  {describe_speed(self._progress)}', style='not bold')

    def _bar(self) -> Table:
        item, items = self._progress.get('item'), self._progress.get('items')
        bar = ProgressBar(total=items or 1, completed=min(item or 0, items or 1))
        grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(justify='right', no_wrap=True)
        share = units.percent(item / items, 0) if items and item is not None else units.DASH
        grid.add_row(bar, f'{share}, item {units.number(item)} of {units.number(items)}')
        return grid

    def _table(self, layers: list[dict[str, Any]]) -> Table:
        width, height = self._console.size
        columns = [each for each in COLUMNS if width >= each.from_width]
        table = Table(
            box=box.SIMPLE_HEAD,
            header_style='dim',
            show_edge=False,
            pad_edge=False,
            padding=(0, 1),
        )
        for column in columns:
            table.add_column(
                column.title, justify=column.justify, no_wrap=True, overflow='ellipsis'
            )
        shown = layers[: max(1, height - OTHER_LINES)]
        for layer in shown:
            style = STATE_STYLES.get(layer.get('state') or '', '')
            cells = [Text(column.cell(layer)) for column in columns]
            cells[1].stylize(style)
            table.add_row(*cells)
        if len(shown) < len(layers):
            table.add_row(Text(f'… {len(layers) - len(shown)} more', style='dim'))
        return table

    def _waiting(self, layers: list[dict[str, Any]]) -> list[Text]:
        """Say below the table who waits for what, where the table has no room for it."""
        if self._console.width >= WAITING_COLUMN_FROM:
            return []
        waiting = [describe_waiting(layer) for layer in layers if layer.get('waiting_for')]
        lines = waiting[:WAITING_SHOWN]
        if len(lines) < len(waiting):
            lines.append(f'{len(waiting) - len(lines)} more layers wait')
        return [Text(line, style='yellow', overflow='ellipsis', no_wrap=True) for line in lines]
