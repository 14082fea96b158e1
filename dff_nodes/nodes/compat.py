# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Differences between versions of rclpy, Humble to Lyrical, in one place."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from dff_nodes.nodes.shared_memory import remove_left_overs


def init(arguments: list[str] | None) -> None:
    """
    Start rclpy without signal handlers of its own.

    Nodes end in their own order: the training step first, then the report, then the context.
    What nodes that were killed left in shared memory goes first, so that there is room.
    """
    remove_left_overs()
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)


def make_executor() -> Executor:
    """
    Make the executor of a node's main thread.

    The events executor, where rclpy has it (Jazzy and later), takes a message in for a third of
    what the ordinary one spends on building its wait set in Python.
    """
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()


def on_stop_signals(stop: Callable[[str], None]) -> None:
    """Call `stop` with the signal's name on SIGINT and SIGTERM; main thread only."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: stop(signal.Signals(number).name))
