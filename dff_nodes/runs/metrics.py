# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Metrics of the layers while they train: averaged between reports, one CSV row each."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Protocol

from dff_nodes.runs.errors import ConfigError


class Figures(Protocol):
    """What one training step showed."""

    loss: float
    positive_goodness: float
    negative_goodness: float
    separation: float
    learning_rate: float


@dataclass(frozen=True)
class MetricsRow:
    """What one layer learned since its last report; a row of metrics.csv."""

    seconds: float
    """since the run began"""
    layer: int
    item: int
    """last item the figures include"""
    epoch: int
    loss: float
    positive_goodness: float
    negative_goodness: float
    separation: float
    """share of pairs whose positive has the higher goodness"""
    learning_rate: float
    samples_per_second: float
    items_per_second: float
    compute_share: float
    """share of the time spent computing rather than waiting"""
    input_queue: int


class MetricsAverage:
    """
    Averages a layer's figures until the next report is due.

    :param layer: index of the layer.
    :param every_s: seconds between two reports.
    :param now: monotonic clock, s.
    """

    def __init__(self, layer: int, every_s: float, now: float) -> None:
        self.layer = layer
        self.every_s = every_s
        self._start(now)

    def _start(self, now: float) -> None:
        self._since = now
        self._sums = [0.0] * 4
        self._rate = 0.0
        self._steps = self._items = self._samples = 0
        self._computing_s = 0.0

    def add(self, figures: Figures | None, samples: int, computing_s: float) -> None:
        """Count one item; figures is None for items that do not train."""
        self._items += 1
        self._computing_s += computing_s
        if figures is None:
            return
        self._steps += 1
        self._samples += samples
        self._rate = figures.learning_rate
        shown = (
            figures.loss,
            figures.positive_goodness,
            figures.negative_goodness,
            figures.separation,
        )
        self._sums = [total + value for total, value in zip(self._sums, shown, strict=True)]

    def due(self, now: float) -> bool:
        """Whether there is a training step to report and the time for it has come."""
        return self._steps > 0 and now - self._since >= self.every_s

    def take(
        self, now: float, seconds: float, item: int, epoch: int, input_queue: int = 0
    ) -> MetricsRow | None:
        """Give the averages since the last report and start anew; None without a step."""
        if self._steps == 0:
            return None
        passed = max(now - self._since, 1e-9)
        row = MetricsRow(
            seconds,
            self.layer,
            item,
            epoch,
            *(total / self._steps for total in self._sums),
            self._rate,
            self._samples / passed,
            self._items / passed,
            min(1.0, self._computing_s / passed),
            input_queue,
        )
        self._start(now)
        return row


class MetricsFile:
    """metrics.csv of a run; rows are on disk as soon as they are written."""

    def __init__(self, path: Path) -> None:
        written = path.read_bytes() if path.exists() else b''
        self._file = path.open('a', newline='', encoding='utf-8')
        self._rows = csv.writer(self._file)
        if not written:
            self._rows.writerow(field.name for field in fields(MetricsRow))
        elif not written.endswith(b'\n'):
            # A crash cut the last row: it must not swallow the next.
            self._file.write('\r\n')
        self._file.flush()

    def write(self, row: MetricsRow) -> None:
        """Append one row."""
        self._rows.writerow(
            f'{value:.6g}' if isinstance(value, float) else value for value in astuple(row)
        )
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class NoMetricsFile:
    """A metrics file that keeps nothing, for runs that do not train."""

    def write(self, row: MetricsRow) -> None:
        """Forget the row."""

    def close(self) -> None:
        """Do nothing."""


def read_metrics(path: Path) -> list[MetricsRow]:
    """
    Read metrics.csv; a row that was cut off by a crash is left out.

    :raises ConfigError: if it is no text, or not readable.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines(keepends=True)
        whole = [line for line in lines[1:] if line.endswith('\n')]
        rows = [_row(cells) for cells in csv.reader(whole)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f'{path} cannot be read: {error}; move it away, and the report comes without curves'
        ) from error
    return [row for row in rows if row is not None]


def _row(cells: list[str]) -> MetricsRow | None:
    types = [int if field.type == 'int' else float for field in fields(MetricsRow)]
    if len(cells) != len(types):
        return None
    try:
        return MetricsRow(*(read(cell) for read, cell in zip(types, cells, strict=True)))
    except ValueError:
        return None
