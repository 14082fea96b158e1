# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Starts the nodes of one machine, watches them, and leaves none behind."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from dff_nodes.nodes.deployment import NodeSpec
from dff_nodes.nodes.fork_server import ForkedNode, ForkServer
from dff_nodes.nodes.process import (
    EVENTS_VARIABLE,
    LAST_EVENTS,
    PARENT_VARIABLE,
    REPLACED_STATUS,
)
from dff_nodes.runs.signals import handling

POLL_S = 0.1
END_S = 5.0
"""time that nodes get to end by themselves, then after SIGTERM, before SIGKILL"""
DISMISSED_S = 20.0
"""time that a coordinator gets to end whose run has ended, and all other nodes with it"""
LOG_LINES = 6
LONGEST_BACKOFF_S = 8.0


Place = Callable[[str, list[str], dict[str, str]], tuple[list[str], dict[str, str]]]
"""takes a node's name, command and environment, gives those that start it where it belongs"""


class NodeDied(RuntimeError):
    """A node ended before the run did, more often than it may."""


class Restarts:
    """
    When a node that died is started again.

    :param max_per_minute: more within a minute are a fault that a restart does not mend. The time
        until a restart is not counted, or a node that fails at once would be started for ever.
    :param backoff_s: until the first restart; doubles with each within a minute.
    """

    def __init__(self, max_per_minute: int, backoff_s: float) -> None:
        self.max_per_minute = max_per_minute
        self.backoff_s = backoff_s
        self._died_s: dict[str, list[float]] = {}
        self._waited_s: dict[str, float] = {}

    def delay_s(self, name: str, now: float) -> float | None:
        """Count a death; give the time until the node is started again, None for never."""
        waited_s = self._waited_s.get(name, 0.0)
        lived_s = now - waited_s
        recent = [at for at in self._died_s.get(name, []) if lived_s - at < 60.0]
        if len(recent) >= self.max_per_minute:
            return None
        delay_s = min(self.backoff_s * 2 ** len(recent), LONGEST_BACKOFF_S)
        self._died_s[name] = [*recent, lived_s]
        self._waited_s[name] = waited_s + delay_s
        return delay_s


NO_RESTARTS = Restarts(0, 0.0)


class Supervisor:
    """
    Runs the nodes of a run as processes of this machine.

    Events come from the coordinator's standard output, one JSON object a line; everything else
    that the nodes print goes to `log_folder/NODE.log`.

    :param environment: of the nodes, on top of what every run sets.
    :param emit: takes the events, on the thread that calls `run`.
    :param place: changes how a node is started, for nodes that belong on another device.
    :param restarts: when nodes that died are started again.
    :param preload: modules that are imported once for all nodes, see ForkServer; without any, and
        with `place`, each node is started by itself.
    """

    def __init__(
        self,
        specs: list[NodeSpec],
        namespace: str,
        log_folder: Path,
        environment: dict[str, str],
        emit: Callable[[dict[str, Any]], None],
        log_level: str = 'info',
        place: Place | None = None,
        restarts: Restarts = NO_RESTARTS,
        preload: Sequence[str] = (),
    ) -> None:
        self.specs = specs
        self.namespace = namespace
        self.log_folder = log_folder
        self.log_level = log_level
        self.place = place
        self.restarts = restarts
        self._restart_at: dict[str, float] = {}
        self._replaced: set[str] = set()
        self.emit = emit
        self.environment = _environment(log_folder) | environment
        self.processes: dict[str, subprocess.Popen | ForkedNode] = {}
        self._server = None
        if preload and place is None:
            log = log_folder / 'coordinator.log'
            self._server = ForkServer(preload, self.environment, log)
        self.failed: dict[str, Any] | None = None
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._interrupted = False
        self._told = False
        self._dismissed_s: float | None = None

    def run(self, on_start: Callable[[Supervisor], None] | None = None) -> int:
        """
        Run to the end; give the exit status. Raises NodeDied; no process is left behind.

        :param on_start: called once the nodes were started.
        """
        with handling(self._interrupt):
            try:
                self._start()
                if on_start is not None:
                    on_start(self)
                return self._watch()
            finally:
                self._end_all()

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True

    def _start(self) -> None:
        for spec in self.specs:
            self._start_node(spec)

    def _start_node(self, spec: NodeSpec) -> None:
        coordinator = spec.name == 'coordinator'
        command, environment = spec.command(self.namespace, self.log_level), self.environment
        if self.place is not None:
            command, environment = self.place(spec.name, command, environment)
        with (self.log_folder / f'{spec.name}.log').open('ab') as log:
            if self._server is not None:
                process = self._server.start(command, log.fileno(), reads_output=coordinator)
            else:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if coordinator else log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C reaches this process only
                )
        self.processes[spec.name] = process
        if coordinator:
            self._reader = threading.Thread(
                target=self._read_events, args=(process.stdout,), daemon=True
            )
            self._reader.start()

    def _read_events(self, lines: IO[bytes]) -> None:
        for line in lines:
            try:
                self._events.put(json.loads(line))
            except ValueError:
                text = line.decode(errors='replace').rstrip()
                self._events.put({'event': 'warning', 'text': f'coordinator: {text}'})

    def _watch(self) -> int:
        while True:
            self._emit_events(POLL_S)
            if self._interrupted:
                return self._stop_early()
            self._dismiss_coordinator()
            if self._stays():
                text = f'the coordinator has not ended {DISMISSED_S:g} s after all others: killed'
                self.emit({'event': 'warning', 'text': text})
                return self.failed['status'] if self.failed else 0
            status = self.processes['coordinator'].poll()
            if status is not None and 'coordinator' not in self._restart_at:
                self._reader.join(END_S)  # its last events may still be in the pipe
                self._emit_events(0.0)
                if self._has_ended(status):
                    self._wait_for_all(END_S)
                    return self.failed['status'] if self.failed else 0
                self._node_died('coordinator')
            for name, ended in self._ended_early():
                if ended == REPLACED_STATUS:
                    self._node_replaced(name)
                    continue
                self._await_reason(ended)
                if self.failed is not None:
                    return self.failed['status']
                self._node_died(name)
            self._restart_due()

    def _dismiss_coordinator(self) -> None:
        """When all have gone, nobody is left that it has to tell how the run ended."""
        gone = all(
            name in {'coordinator', *self._replaced} or process.poll() == 0
            for name, process in self.processes.items()
        )
        if self._told and gone and self._dismissed_s is None:
            self._dismissed_s = time.monotonic()
            self.processes['coordinator'].send_signal(signal.SIGTERM)

    def _stays(self) -> bool:
        """Whether the coordinator hangs in its end; the run has its result by then."""
        if self._dismissed_s is None or self.processes['coordinator'].poll() is not None:
            return False
        return time.monotonic() - self._dismissed_s > DISMISSED_S

    def _ended_early(self) -> list[tuple[str, int]]:
        """Give the layers that ended before the run, with their status, each only once."""
        early = []
        for name, process in self.processes.items():
            ended = process.poll()
            known = name == 'coordinator' or name in self._restart_at or name in self._replaced
            if not known and (ended or (ended == 0 and not self._told)):
                early.append((name, ended))
        return early

    def _node_replaced(self, name: str) -> None:
        """The run goes on with the node that has its place, wherever that was started."""
        self._replaced.add(name)
        how = _how_it_ended(REPLACED_STATUS)
        text = f'{name} {how}: another node has its place now'
        self.emit({'event': 'warning', 'text': text})

    def _has_ended(self, status: int) -> bool:
        """Whether the coordinator ended the run, rather than died in it."""
        return self.failed is not None or self._told or status == 0

    def _await_reason(self, ended: int) -> None:
        """A node that ended by itself may have told the coordinator why, which says it then."""
        limit = time.monotonic() + (2.0 if ended > 0 else 0.0)
        while self.failed is None and time.monotonic() < limit:
            self._emit_events(POLL_S)

    def _restart_due(self) -> None:
        """Start the nodes again whose time has come."""
        now = time.monotonic()
        for spec in self.specs:
            if self._restart_at.get(spec.name, now + 1) <= now:
                del self._restart_at[spec.name]
                self._start_node(spec)

    def _emit_events(self, wait_s: float) -> None:
        """Pass on the events that have come, waiting for the first so long."""
        try:
            event = self._events.get(block=wait_s > 0, timeout=wait_s)
            while True:
                if event.get('event') == 'error':
                    self.failed = event
                else:
                    self._told |= event.get('event') in LAST_EVENTS
                    self.emit(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _stop_early(self) -> int:
        """Let the coordinator pause the run, so that every node saves and ends in order."""
        self.emit({'event': 'phase', 'text': 'stopping the nodes'})
        self._close_server()
        self.processes['coordinator'].send_signal(signal.SIGINT)
        self._wait_for_all(END_S)
        self._reader.join(1.0)
        self._emit_events(0.0)
        self.failed = self.failed or {'text': 'stopped before the end', 'status': 1}
        return self.failed['status']

    def _node_died(self, name: str) -> None:
        """Start a node that died again, or raise NodeDied if that has been no help."""
        process = self.processes[name]
        how = _how_it_ended(process.returncode)
        wrong_request = process.returncode == 2
        delay_s = None if wrong_request else self.restarts.delay_s(name, time.monotonic())
        if delay_s is None:
            limit = 0 if wrong_request else self.restarts.max_per_minute
            often = f' more than {limit} times in a minute (restart.max_per_minute)'
            raise NodeDied(
                f'{name} {how}{often if limit else ""}; the end of its log '
                f'({self.log_folder / name}.log):\n{self._log_tail(name)}'
            )
        self._restart_at[name] = time.monotonic() + delay_s
        text = f'{name} {how}; it is started again in {delay_s:g} s'
        self.emit({'event': 'warning', 'text': text})

    def _log_tail(self, name: str) -> str:
        lines = (self.log_folder / f'{name}.log').read_text(errors='replace').splitlines()
        return '\n'.join(lines[-LOG_LINES:]) or '(it is empty)'

    def _wait_for_all(self, limit_s: float) -> bool:
        limit = time.monotonic() + limit_s
        for process in self.processes.values():
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
        return True

    def _close_server(self) -> None:
        """No node comes after that, also none that was asked for."""
        if self._server is not None:
            self._server.close()

    def _end_all(self) -> None:
        self._close_server()
        for number in (signal.SIGTERM, signal.SIGKILL):
            living = [each for each in self.processes.values() if each.poll() is None]
            for process in living:
                process.send_signal(number)
            if not living or self._wait_for_all(END_S):
                return


def _environment(log_folder: Path) -> dict[str, str]:
    """Give what the nodes need besides this process's environment."""
    return {
        **os.environ,
        PARENT_VARIABLE: str(os.getpid()),
        EVENTS_VARIABLE: 'json',
        'PYTHONUNBUFFERED': '1',
        'PYTHONSAFEPATH': '1',  # a json.py in the current folder is not Python's
        'ROS_LOG_DIR': str(log_folder),
        'RCUTILS_COLORIZED_OUTPUT': '0',
    }


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f'ended with exit status {status}'
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f'signal {-status}'
    more = ' (out of memory, or killed by hand)' if name == 'SIGKILL' else ''
    return f'was ended by {name}{more}'
