# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Averages between two reports, and metrics.csv on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dff_nodes.runs.metrics import MetricsAverage, MetricsFile, MetricsRow, read_metrics


@dataclass
class Step:
    loss: float = 1.0
    positive_goodness: float = 2.0
    negative_goodness: float = 0.5
    separation: float = 0.75
    learning_rate: float = 0.003


def row(item: int, layer: int = 0) -> MetricsRow:
    return MetricsRow(1.5, layer, item, 0, 0.25, 2.0, 0.5, 0.75, 0.003, 640.0, 10.0, 0.5, 37)


def test_an_average_covers_what_came_since_the_last_report() -> None:
    average = MetricsAverage(layer=1, every_s=1.0, now=100.0)
    average.add(Step(loss=1.0, separation=0.5), samples=64, computing_s=0.2)
    average.add(Step(loss=3.0, separation=1.0, learning_rate=0.002), samples=36, computing_s=0.3)
    average.add(None, samples=10, computing_s=0.5)
    taken = average.take(now=102.0, seconds=7.0, item=41, epoch=2, input_queue=3)
    assert taken == MetricsRow(
        seconds=7.0, layer=1, item=41, epoch=2, loss=2.0, positive_goodness=2.0,
        negative_goodness=0.5, separation=0.75, learning_rate=0.002, samples_per_second=50.0,
        items_per_second=1.5, compute_share=0.5, input_queue=3,
    )  # fmt: skip


def test_a_report_starts_the_next_average_anew() -> None:
    average = MetricsAverage(0, 1.0, 0.0)
    average.add(Step(loss=100.0), 64, 0.1)
    assert average.take(1.0, 1.0, 0, 0) is not None
    assert average.take(2.0, 2.0, 0, 0) is None
    average.add(Step(loss=2.0), 64, 0.1)
    again = average.take(3.0, 3.0, 1, 0)
    assert again is not None
    assert again.loss == 2.0


def test_a_report_is_due_after_its_time_and_with_a_training_step() -> None:
    average = MetricsAverage(0, every_s=1.0, now=0.0)
    assert not average.due(5.0)
    average.add(None, 64, 0.1)
    assert not average.due(5.0)
    average.add(Step(), 64, 0.1)
    assert not average.due(0.9)
    assert average.due(1.0)


def test_the_share_of_computing_never_exceeds_one() -> None:
    average = MetricsAverage(0, 1.0, 0.0)
    average.add(Step(), 64, computing_s=9.0)
    taken = average.take(1.0, 1.0, 0, 0)
    assert taken is not None
    assert taken.compute_share == 1.0


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.csv'
    file = MetricsFile(path)
    file.write(row(1))
    assert read_metrics(path) == [row(1)], 'on disk before the file is closed'
    file.write(row(2, layer=1))
    file.close()
    assert read_metrics(path) == [row(1), row(2, layer=1)]


def test_a_resumed_run_appends_without_a_second_heading(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.csv'
    for item in (1, 2):
        file = MetricsFile(path)
        file.write(row(item))
        file.close()
    assert [each.item for each in read_metrics(path)] == [1, 2]
    assert path.read_text().count('loss') == 1


def test_a_last_row_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.csv'
    whole, begin = torn_file(path)
    for cut in range(begin, len(whole)):
        path.write_bytes(whole[:cut])
        # Never a figure that is shorter than the one that was written.
        assert read_metrics(path) in ([row(1)], [row(1), row(2)]), whole[begin:cut]


def test_a_run_that_goes_on_after_a_torn_row_loses_that_row_only(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.csv'
    whole, begin = torn_file(path)
    path.write_bytes(whole[: begin + 9])
    file = MetricsFile(path)
    file.write(row(3))
    file.close()
    assert read_metrics(path) == [row(1), row(3)]


def torn_file(path: Path) -> tuple[bytes, int]:
    """Write two rows; give the file's content and where its last row begins."""
    file = MetricsFile(path)
    file.write(row(1))
    file.write(row(2))
    file.close()
    whole = path.read_bytes()
    return whole, len(whole) - len(whole.splitlines(keepends=True)[-1])


def test_a_file_with_its_heading_alone_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.csv'
    MetricsFile(path).close()
    assert read_metrics(path) == []


@pytest.mark.parametrize('text', ['', '\n'])
def test_an_empty_file_has_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'metrics.csv'
    path.write_text(text)
    assert read_metrics(path) == []
