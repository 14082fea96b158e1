# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What every node of a run shares: its life, its worker thread, its parameters and its end."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher

from dff_nodes.data.facts import DataError
from dff_nodes.nodes import compat, qos
from dff_nodes.nodes.link import Stopped
from dff_nodes.nodes.process import REPLACED_STATUS
from dff_nodes.runs.atomic import MENDABLE
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.memory import share_one_heap

SPIN_S = 0.1
"""longest time until a signal or the end of the worker is noticed"""
REJECTION_LOG_S = 5.0
WAITING_WORTH_TELLING_S = 1.0


TEARDOWN_S = 10.0
"""for taking a node apart, which takes well under one"""
ROOM = 'room to write'
"""what a node waits for whose disk is full begins with it"""
ROOM_S = 1.0
"""between two looks whether a disk can be written again"""
PAUSED = 'the run was paused'
ORDERLY = (None, 'SIGINT', PAUSED)
"""reasons to end that are no failure: Ctrl-C is the operator's wish, as with every ROS node"""


class RunFailed(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


class NoRun(RunFailed):
    """A node never heard of a run, so there is nobody to tell."""


class Replaced(RunFailed):
    """Another node has this one's place in the run, which goes on without this one."""


class Participant(Node):
    """
    A node of a run: a worker thread that computes, an executor that only moves messages.

    The executor's thread is the main thread (`spin_to_end`); the worker thread is started with
    `start_worker` and waits only in slices, on `changed`. What ends the node, from whatever
    thread, goes through `stop` or `fail`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.changed = threading.Condition(threading.RLock())
        self.host = socket.gethostname()
        self.rejected: Counter[str] = Counter()
        self.error: Exception | None = None
        self.waiting_for = ''
        self._waiting_since = 0.0
        self._rejection_logged_s = 0.0
        self._stop_reason: str | None = None
        self._asked_to_stop = 0
        self._ended = False
        self._worker: threading.Thread | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)

    def parameter(self, name: str, default: Any, description: str, **constraints: Any) -> Any:
        """Declare a read-only parameter, documented for `ros2 param describe`, and read it."""
        descriptor = ParameterDescriptor(description=description, read_only=True, **constraints)
        return self.declare_parameter(name, default, descriptor).value

    def check(self) -> None:
        """Raise Stopped if the node shall end."""
        if self._stop_reason is not None or self.error is not None:
            raise Stopped(self._stop_reason or str(self.error))

    def ended(self) -> bool:
        """Whether the node has ended or shall end."""
        return self._ended or self._stop_reason is not None or self.error is not None

    def stop(self, reason: str) -> None:
        """Ask the node to end; safe in a signal handler, as it takes no lock."""
        self._asked_to_stop += 1
        if not self._ended:
            self._stop_reason = self._stop_reason or reason

    def fail(self, error: Exception) -> None:
        """End the node with an error; the first one counts."""
        if isinstance(error, OSError):
            error = self._explain_file_error(error)
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()

    def _explain_file_error(self, error: OSError) -> RunFailed:
        """A disk that is full, or a folder that cannot be written any more."""
        where = f' {error.filename}' if error.filename else ''
        return RunFailed(
            f'{self.get_name()} on {self.host} cannot write its run folder{where}: '
            f'{error.strerror}; make room there, then continue with dff train --resume RUN'
        )

    def await_room(self, error: OSError) -> None:
        """
        Wait a moment for a disk that is full, or a folder that may not be written, to be mended.

        :raises OSError: the error itself, if it is nothing that is mended from outside.
        """
        if error.errno not in MENDABLE:
            raise error
        where = error.filename or 'the run folder'
        self.waiting(f'{ROOM} {where} on {self.host}: {error.strerror}')
        with self.changed:
            self.changed.wait(ROOM_S)

    def waiting(self, reason: str | None) -> None:
        """Say what the worker thread waits for, None when it goes on."""
        if reason is None:
            self.waiting_for = ''
        elif not self.waiting_for:
            self._waiting_since = time.monotonic()
            self.waiting_for = reason
        else:
            self.waiting_for = reason

    @property
    def waited_s(self) -> float:
        """For how long the worker has been waiting, s."""
        return time.monotonic() - self._waiting_since if self.waiting_for else 0.0

    @property
    def awaited(self) -> str:
        """What the worker waits for, if it is more than the pipeline's ordinary back-pressure."""
        return self.waiting_for if self.waited_s >= WAITING_WORTH_TELLING_S else ''

    def reject(self, topic: str, reason: str) -> None:
        """Count and report a message that was refused; the log is not flooded."""
        self.rejected[topic] += 1
        now = time.monotonic()
        if now - self._rejection_logged_s >= REJECTION_LOG_S:
            self._rejection_logged_s = now
            self.get_logger().warning(
                f'refused a message on {topic}: {ascii(reason)[1:-1][:200]} '
                f'({sum(self.rejected.values())} refused so far)'
            )

    def start_worker(self, work: Callable[[], None]) -> None:
        """Run `work` in the worker thread; the node ends when it returns."""

        def run() -> None:
            try:
                work()
            except Stopped:
                pass
            except Exception as error:  # noqa: BLE001 - the thread's boundary: report and end
                if not isinstance(error, (RunFailed, ConfigError)):
                    self.get_logger().debug(traceback.format_exc())
                self.fail(error)
            finally:
                self._ended = True

        self._worker = threading.Thread(target=run, name='worker', daemon=True)
        self._worker.start()

    def spin_to_end(self) -> int:
        """Move messages until the worker has ended; give the exit status."""
        compat.on_stop_signals(self.stop)
        executor = compat.make_executor()
        executor.add_node(self)
        while not self._ended and self.error is None:
            try:
                executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:  # noqa: BLE001 - a callback's error ends the node, in order
                self.get_logger().debug(traceback.format_exc())
                self.fail(error)
            if self._stop_reason is not None and self._worker is None:
                break
        if self._worker is not None:
            with self.changed:
                self.changed.notify_all()
            self._worker.join(timeout=4.0)
        self.at_end()
        executor.remove_node(self)
        if self.error is not None:
            return exit_status(self.error)
        return 0 if self._stop_reason in ORDERLY else 1

    def at_end(self) -> None:
        """Say the last word; the worker has ended, publishers still work."""

    def await_heard(self, publisher: Publisher, limit_s: float) -> None:
        """
        Stay until what was published has arrived everywhere, or a signal says to go.

        The middleware sends in the background, and again what was lost. A node that was killed
        counts as there until its lease runs out, 20 s later.
        """
        asked, limit = self._asked_to_stop, time.monotonic() + limit_s
        while self._asked_to_stop == asked and time.monotonic() < limit:
            if publisher.wait_for_all_acked(Duration(seconds=SPIN_S)):
                return

    def diagnose(self, level: bytes, message: str, values: dict[str, Any]) -> None:
        """Publish the node's health on /diagnostics."""
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name()}: training',
            message=message,
            hardware_id=self.host,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def exit_status(error: Exception) -> int:
    """Give the exit status of a node that ends with an error."""
    if isinstance(error, Replaced):
        return REPLACED_STATUS
    return 2 if isinstance(error, (ConfigError, DataError)) else 1


def run_node(make: Callable[[], Participant], arguments: list[str] | None = None) -> NoReturn:
    """Be the process of a node: start rclpy, spin to the end, and leave with its status."""
    share_one_heap()
    status = _run(make, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed. What Python and the middleware would still tear down at exit has been
    # seen to hang, and a node that has ended must not stay.
    os._exit(status)


def limit_teardown() -> None:
    """
    End the process, with where each thread stood in its log, if the middleware does not let go.

    A node that has said its last word must not stay; the limit is kept by a thread that needs no
    Python, whatever the others hold.
    """
    faulthandler.dump_traceback_later(TEARDOWN_S, exit=True)


def _run(make: Callable[[], Participant], arguments: list[str] | None) -> int:
    compat.init(arguments)
    node = None
    try:
        node = make()
        return node.spin_to_end()
    except Exception as error:  # noqa: BLE001 - the process's boundary
        logger = rclpy.logging.get_logger('dff_nodes')
        logger.error(str(error) or type(error).__name__)
        logger.debug(traceback.format_exc())
        return exit_status(error)
    finally:
        limit_teardown()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
