# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Signals that must not end a process before it has saved or tidied up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handling(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Answer the signals that end a process so, but for SIGHUP where nohup has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in ENDING if number != signal.SIGHUP or not ignored]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def ending_in_order() -> AbstractContextManager[None]:
    """Let the signals that end a process run its clean-up first, as Ctrl-C does."""
    return handling(_interrupt)


def undisturbed() -> AbstractContextManager[None]:
    """Ignore the signals that end a process, in a clean-up that takes a second."""
    return handling(signal.SIG_IGN)
