# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run shows itself on terminals of any width and in pipes, whatever an event lacks."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from dff_nodes.cli.live_view import LiveView
from dff_nodes.cli.view import PlainView, make_view, print_summary

LAYER = {
    'name': 'layer_1', 'host': 'pi2', 'state': 'waiting', 'items_per_second': 30.1, 'loss': 0.2134,
    'positive_goodness': 1.9, 'negative_goodness': 0.4, 'input_queue': 3, 'rss_mb': 301.2,
    'waiting_for': 'items from layer_0 on pi1, last heard 12 s ago',
}  # fmt: skip
PROGRESS = {
    'event': 'progress', 'item': 450, 'items': 9000, 'epoch': 0, 'epochs': 8, 'seconds': 12.3,
    'left_s': 40.0, 'samples_per_second': 5000.0, 'layers': [LAYER],
}  # fmt: skip
EVALUATION = {
    'event': 'evaluation', 'epoch': 0, 'split': 'test', 'samples': 360, 'accuracy': 0.93,
    'layer_accuracy': [0.9, 0.92],
}  # fmt: skip
RESULT = {
    'test_accuracy': 0.9755, 'train_accuracy': 0.99, 'layer_accuracy': [0.96, 0.97],
    'seconds': 123.4, 'setup_seconds': 3.2, 'samples_per_second': 5034.2,
    'wire_bytes': {'layer_0': 2_500_000, 'layer_1': 279_000_000},
    'goodness_bytes': {'layer_0': 328_000, 'layer_1': 328_000},
    'peak_rss_mb': {'coordinator': 300.0, 'layer_0': 312.0, 'layer_1': 260.0},
    'base_rss_mb': {'layer_0': 248.0, 'layer_1': 248.0},
    'restarts': {'layer_0': 0}, 'resent_items': {'layer_1': 3}, 'rejected_messages': {},
}  # fmt: skip
EMPTY_EVENTS: list[dict[str, Any]] = [
    {},
    {'event': 'unknown'},
    {'event': 'phase'},
    {'event': 'progress'},
    {'event': 'progress', 'item': None, 'items': 0, 'layers': [{}]},
    {'event': 'progress', 'item': 0, 'items': 10, 'layers': None, 'left_s': None},
    {'event': 'progress', 'layers': [dict.fromkeys(LAYER)]},
    {'event': 'evaluation'},
    {'event': 'warning'},
    {'event': 'error'},
    {'event': 'result'},
]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(width: int, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None
    )


def drawn(view: LiveView, width: int, height: int = 40) -> str:
    """What a terminal of that size shows."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(view.render())
    return console.file.getvalue()


def test_a_pipe_gets_one_line_for_each_event() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainView(stream, clock)
    view.handle({'event': 'phase', 'text': 'waiting for layer_0'})
    view.handle(PROGRESS)
    view.handle(EVALUATION | {'tested_on': 'test'})
    view.handle(EVALUATION | {'tested_on': 'validation'})
    view.handle(EVALUATION | {'tested_on': 'validation', 'split': 'train'})
    view.handle({'event': 'warning', 'text': 'the clocks differ'})
    view.handle({'event': 'error', 'text': 'layer_1 was lost', 'status': 1})
    view.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == 'waiting for layer_0'
    for words in ('epoch 1/8', 'item 450 of 9 000 (5 %)', '5 000 samples/s', '40.0 s left'):
        assert words in lines[1], words
    assert 'loss layer_1 0.213' in lines[1]
    assert 'layer_1 waits for items from layer_0 on pi1' in lines[1]
    assert lines[2] == 'epoch 1: test accuracy 93.00 % of 360 samples (layers 90.0 %, 92.0 %)'
    assert lines[3].startswith('epoch 1: validation accuracy 93.00 %')
    assert lines[4].startswith('epoch 1: train accuracy 93.00 %')
    assert lines[5:] == ['warning: the clocks differ', 'error: layer_1 was lost']


def test_a_pipe_is_told_of_progress_now_and_then_only() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainView(stream, clock)
    for _ in range(100):
        view.handle(PROGRESS)
        clock.now += 0.1
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize('event', EMPTY_EVENTS)
@pytest.mark.parametrize('width', [20, 80, 200])
def test_no_event_breaks_a_view(event: dict[str, Any], width: int) -> None:
    stream = io.StringIO()
    PlainView(stream, Clock()).handle(event)
    view = LiveView(terminal(width))
    try:
        view.handle(event)
        assert 'None' not in drawn(view, width) + stream.getvalue()
    finally:
        view.close()
        view.close()


@pytest.mark.parametrize('width', [30, 50, 80, 100, 160])
def test_the_live_view_fits_the_terminal(width: int) -> None:
    view = LiveView(terminal(width))
    view.handle(PROGRESS)
    for epoch in range(5):
        view.handle(EVALUATION | {'epoch': epoch})
    view.close()
    text = view.render()
    console = terminal(width)
    console.print(text)
    shown = console.file.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= width
    assert 'layer_1' in shown
    assert 'epoch 5' in shown
    assert 'epoch 2:' not in shown, 'only the latest evaluations are shown'
    assert len(shown.splitlines()) <= 9


def test_a_wide_terminal_shows_everything_of_a_layer() -> None:
    view = LiveView(terminal(160))
    view.handle(PROGRESS)
    view.close()
    console = terminal(160)
    console.print(view.render())
    shown = console.file.getvalue()
    for words in (
        'layer_1 @ pi2', 'waiting', '30.1', '0.213', '1.9', '0.4', '301 MB',
        'items from layer_0 on pi1, last heard 12 s ago', '5 %', '40.0 s left',
    ):  # fmt: skip
        assert words in shown, words


def test_more_layers_than_lines_are_counted() -> None:
    view = LiveView(terminal(80, height=24))
    layers = [LAYER | {'name': f'layer_{index}'} for index in range(100)]
    view.handle(PROGRESS | {'layers': layers})
    view.close()
    shown = drawn(view, 80, 24)
    assert '88 more' in shown
    assert '98 more layers wait' in shown
    assert len(shown.splitlines()) < 24


def test_a_warning_stays_above_the_live_area() -> None:
    console = terminal(80)
    view = LiveView(console)
    view.handle({'event': 'warning', 'text': 'the clocks [bold]differ'})
    view.close()
    assert 'warning: the clocks [bold]differ' in console.file.getvalue()
    assert 'the clocks' not in drawn(view, 80)


def test_a_stream_that_is_no_terminal_gets_the_plain_view() -> None:
    assert isinstance(make_view(io.StringIO()), PlainView)


def test_a_terminal_gets_the_live_view() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    view = make_view(Terminal())
    view.close()
    assert isinstance(view, LiveView)


def summary(result: dict[str, Any], folder: str | None = 'runs/first', width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_summary(result, folder, console)
    return console.file.getvalue()


def test_the_summary_tells_the_figures_and_what_to_do_next() -> None:
    text = summary(RESULT)
    for words in (
        '97.55 %', '99.00 %', '2 min 03 s', '5 034 samples/s', '96.00 %', '312 MB', '64.0 MB',
        '2.5 MB', '279 MB', '328 kB', 'items sent again: layer_1 3',
        'dff report runs/first', 'dff evaluate runs/first',
    ):  # fmt: skip
        assert words in text, words
    assert 'restarted' not in text
    assert 'refused' not in text


def test_a_long_folder_is_printed_in_one_piece() -> None:
    folder = '/somewhere/' + 'long' * 40
    assert f'dff report {folder}\n' in summary(RESULT, folder, width=40)


def test_the_summary_of_a_reference_run_has_no_network() -> None:
    text = summary(RESULT | {'wire_bytes': {'layer_0': 0, 'layer_1': 0}})
    assert '96.00 %' in text
    assert 'received' not in text


@pytest.mark.parametrize('result', [{}, {'test_accuracy': None}, {'weights_sha256': {'a': 'b'}}])
def test_a_summary_lacks_nothing_but_figures(result: dict[str, Any]) -> None:
    text = summary(result, None)
    assert 'None' not in text
    assert '–' in text
    assert 'dff report' not in text
