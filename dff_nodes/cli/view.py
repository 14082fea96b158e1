# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How a run shows itself while it goes on: live on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from dff_nodes.runs import units

if TYPE_CHECKING:
    from rich.console import Console

PROGRESS_EVERY_S = 5.0

Event = dict[str, Any]


class View(Protocol):
    """
    Shows the events of a run.

    An event is a dictionary whose `event` says what it is: phase, progress, evaluation, warning,
    error or result. Others are ignored, and what an event lacks is a dash. The result itself is
    for `print_summary`, since only the verb knows where the run folder is.
    """

    def handle(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""


def make_view(stream: TextIO) -> View:
    """Make the view that fits a stream, usually standard error."""
    if not stream.isatty():
        return PlainView(stream)
    from dff_nodes.cli.live_view import LiveView  # deferred: rich takes a while to import
    from dff_nodes.cli.tables import make_console

    return LiveView(make_console(stream))


def print_summary(
    result: dict[str, Any], folder: str | None = None, console: Console | None = None
) -> None:
    """
    Print what came of a run, where it is and what to do next.

    :param console: default that of standard error.
    """
    from dff_nodes.cli.summary import show_summary  # deferred: rich takes a while to import
    from dff_nodes.cli.tables import make_console

    show_summary(result, folder, console or make_console(sys.stderr))


class PlainView:
    """
    One line for each noteworthy event.

    :param clock: monotonic time, s.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._next_progress_s = clock()

    def handle(self, event: Event) -> None:
        """Print one event, or nothing."""
        text = self._text(event)
        if text:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing: there is nothing to undo."""

    def _text(self, event: Event) -> str | None:
        kind, text = event.get('event'), event.get('text') or ''
        if kind == 'phase':
            return text
        if kind in ('warning', 'error'):
            return f'{kind}: {text}'
        if kind == 'evaluation':
            return describe_evaluation(event)
        if kind == 'progress' and self._clock() >= self._next_progress_s:
            self._next_progress_s = self._clock() + PROGRESS_EVERY_S
            return describe_progress(event)
        return None


def describe_epoch(event: Event) -> str:
    """Write which epoch of how many; the stream counts them from 0, people from 1."""
    epoch, epochs = event.get('epoch'), event.get('epochs')
    if epoch is None:
        return f'epoch {units.DASH}'
    return f'epoch {epoch + 1}/{epochs}' if epochs else f'epoch {epoch + 1}'


def describe_speed(event: Event) -> str:
    """Write how fast a run is and how long it will go on."""
    words = [f'{units.number(event.get("samples_per_second"))} samples/s']
    if event.get('left_s') is not None:
        words.append(f'{units.duration(event["left_s"])} left')
    return ', '.join(words)


def describe_progress(event: Event) -> str:
    """Write a progress event as one line."""
    item, items = event.get('item'), event.get('items')
    share = units.percent(item / items, 0) if item is not None and items else units.DASH
    done = f'item {units.number(item)} of {units.number(items)} ({share})'
    words = [f'{describe_epoch(event)}, {done}, {describe_speed(event)}']
    layers = event.get('layers') or []
    losses = [
        f'{layer.get("name")} {units.number(layer["loss"])}'
        for layer in layers
        if layer.get('loss') is not None
    ]
    if losses:
        words.append(f'loss {", ".join(losses)}')
    words += [describe_waiting(layer) for layer in layers if layer.get('waiting_for')]
    return '; '.join(words)


def describe_waiting(layer: dict[str, Any]) -> str:
    """Write what a layer waits for."""
    return f'{layer.get("name")} waits for {layer.get("waiting_for")}'


def describe_evaluation(event: Event) -> str:
    """Write an evaluation as one line."""
    accuracy = units.percent(event.get('accuracy'), 2)
    split = event.get('split', 'test')
    if split == 'test':
        split = event.get('tested_on', split)
    text = f'{describe_epoch(event)}: {split} accuracy {accuracy}'
    if event.get('samples'):
        text += f' of {units.number(event["samples"])} samples'
    each = event.get('layer_accuracy') or []
    if each:
        text += f' (layers {", ".join(units.percent(share, 1) for share in each)})'
    return text
