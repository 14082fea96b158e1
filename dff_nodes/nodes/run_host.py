# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What every coordinator does: announces its run, hears its nodes, and tells how it goes."""

from __future__ import annotations

import json
import os
import sys
import time
from abc import abstractmethod
from array import array
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dff_msgs import msg
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.logging import get_logger
from std_srvs.srv import Trigger

from dff_nodes.data.facts import DataError
from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.layer_watch import ALIVE_BEATS, LayerWatch, known_incarnations
from dff_nodes.nodes.participant import (
    ORDERLY,
    PAUSED,
    ROOM,
    Participant,
    RunFailed,
    exit_status,
    run_node,
)
from dff_nodes.nodes.process import EVENTS_VARIABLE, die_with_parent, prefer_throughput
from dff_nodes.runs.config import worker_names
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.fault_points import FaultPoint, arm, reach
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.journal import Journal
from dff_nodes.runs.metrics import MetricsFile, NoMetricsFile
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.progress import event_line
from dff_nodes.schedules.task import Emit

PROGRESS_S = 0.5
SYNC_S = 0.5
"""between two syncs of the journal"""
FINISHED_S, ENDED_S = 10.0, 3.0
"""
for which the end of a run waits for nodes to hear of it; the first goes through a bad network

A node that does not hear that the run has finished would wait for stream.silence_s, and fail.
"""
SILENT_S = 3.0
"""without a heartbeat for so long besides two that may be missed, a node is waited for"""


class HostedTask(Protocol):
    """What a coordinator needs to know of what it does."""

    folder: RunFolder
    resolved: ResolvedRun
    training: bool
    journal: Journal | None
    run_id: str
    config_hash: str
    first_item: int
    items: int


class RunHost(Participant):
    """
    Announces a run to its nodes, watches their heartbeats, and keeps the run's records.

    :param emit: takes progress events (see cli/view.py).
    :param make_task: gives what is done, once this is a node and has parameters.
    :param nodes: names of the nodes that take part; default those of the run's schedule.
    """

    def __init__(
        self,
        emit: Emit,
        make_task: Callable[[Participant], HostedTask],
        nodes: Callable[[ResolvedRun], list[str]] = lambda run: worker_names(run.config),
    ) -> None:
        super().__init__('coordinator')
        self.emit = emit
        self.task = make_task(self)
        self.data_sha256 = ''
        """of the training set that nodes must have, empty where they have none"""
        self.resolved = self.task.resolved
        self.stream = self.resolved.config.stream
        self.names = nodes(self.resolved)
        self.run_id = self.task.run_id
        self.incarnation = next_incarnation(self.task.folder.checkpoints, 'coordinator')
        self.identity = messages.Sender(self.run_id, self.incarnation)
        arm('coordinator', self.incarnation)
        self.records = self.task.journal.read() if self.task.journal else []
        """of the journal, when this process was started"""
        devices = self.resolved.config.devices
        self.layers = LayerWatch(self.names, devices, known_incarnations(self.records))
        self.metrics_file = (
            MetricsFile(self.task.folder.metrics_file) if self.task.training else NoMetricsFile()
        )
        self._began_s: float | None = None
        self._before_s = max((each.get('seconds', 0.0) for each in self.records), default=0.0)
        """how long the run had trained when this process was started, s"""
        self._phase_now: int | None = None
        self._pausing = False
        self._syncing: Future | None = None
        self._thread = ThreadPoolExecutor(1, 'journal')
        self._told_room: dict[int, str] = {}
        self._silent: set[str] = set()
        self._journaled_incarnations = list(self.layers.incarnations)
        self._foreign: str | None = None
        self._phase = ''
        self._config = self.create_publisher(msg.RunConfig, 'config', qos.LATCHED)
        self.create_subscription(msg.RunConfig, 'config', self._on_foreign_config, qos.LATCHED)
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.LayerMetrics, 'metrics', self._on_metrics, qos.METRICS)

    def begin(self, work: Callable[[], None]) -> None:
        """Start the timers, and `work` in the worker thread: all endpoints are there now."""
        self.create_timer(PROGRESS_S, self._report_progress)
        self.create_timer(self.stream.heartbeat_s, self._beat)
        self.create_timer(SYNC_S, self._sync_journal)
        self.create_service(Trigger, '~/pause', self._on_pause)
        self.start_worker(work)

    # ---- what each kind of coordinator adds ----------------------------------------------

    @property
    @abstractmethod
    def now_at(self) -> int:
        """Items, or parts, that were handled so far."""

    @property
    @abstractmethod
    def metrics_items(self) -> int:
        """What the item of a node's report must be below."""

    @property
    def metrics_layers(self) -> int:
        """What the layer of a node's report must be below."""
        return len(self.names)

    def known_incarnation(self, message: msg.LayerMetrics) -> int:
        """Give the incarnation that the sender of a report has at least."""
        return self.layers.incarnations[message.layer]

    @abstractmethod
    def _progress(self) -> dict[str, Any]:
        """Give what a progress event tells."""

    # ---- what comes in -------------------------------------------------------------------

    def _on_status(self, message: msg.LayerStatus) -> None:
        if wrong := self._what_is_wrong(message):
            self.reject('status', wrong)
            return
        with self.changed:
            newer = self.layers.on_status(message)
            self.changed.notify_all()
        if newer and self._phase_now == msg.RunConfig.RUNNING:
            # One that joins later takes a higher incarnation than all that were known.
            self._publish_config(msg.RunConfig.RUNNING)
        self._tell_room(message)
        if message.state == msg.LayerStatus.ERROR and message.error:
            self.fail(RunFailed(f'{self.layers.place(message.layer)}: {message.error}'))

    def _what_is_wrong(self, message: msg.LayerStatus) -> str | None:
        """Give why a heartbeat is not to be heeded."""
        if wrong := soundness.of_status(message, len(self.names)):
            return wrong
        run_id = messages.run_id_text(message.run_id)
        if run_id not in (self.run_id, messages.NO_RUN):
            return 'it belongs to another run'
        if not message.incarnation:
            # Of a node that has not joined yet: it cannot speak for one that has.
            alive = self.layers.is_alive(message.layer, ALIVE_BEATS * self.stream.heartbeat_s)
            failed = message.state == msg.LayerStatus.ERROR
            return 'that layer takes part in this run already' if alive and failed else None
        if run_id == messages.NO_RUN:
            return 'it has an incarnation, but no run'
        known = self.layers.incarnations[message.layer]
        return soundness.of_incarnation(message.incarnation, known)

    def _tell_room(self, message: msg.LayerStatus) -> None:
        """A disk that is full is for somebody at the terminal to mend."""
        full = message.waiting_for if message.waiting_for.startswith(ROOM) else ''
        if full and full != self._told_room.get(message.layer):
            text = f'{self.names[message.layer]} waits for {full}; it goes on by itself then'
            self.emit({'event': 'warning', 'text': text})
        self._told_room[message.layer] = full

    def _tell_silence(self) -> None:
        """Say once of which layer nothing is heard, and once that it is back."""
        for layer, name in enumerate(self.names):
            silent_s = self.layers.silent_s(layer)
            if silent_s > SILENT_S + 2 * self.stream.heartbeat_s and name not in self._silent:
                self._silent.add(name)
                text = f'waiting for {self.layers.place(layer)}, last heard {silent_s:.0f} s ago'
            elif silent_s < SILENT_S and name in self._silent:
                self._silent.remove(name)
                text = f'{self.layers.place(layer)} is back'
            else:
                continue
            self.emit({'event': 'warning', 'text': text})

    def _on_metrics(self, message: msg.LayerMetrics) -> None:
        wrong = soundness.of_metrics(message, self.metrics_layers, self.metrics_items)
        if not wrong and messages.run_id_text(message.run_id) != self.run_id:
            wrong = 'it belongs to another run'
        known = 0 if wrong else self.known_incarnation(message)
        if wrong := wrong or soundness.of_incarnation(message.incarnation, known):
            self.reject('metrics', wrong)
            return
        self.layers.on_metrics(message)
        self.metrics_file.write(messages.metrics_row(message, self._seconds))

    def _on_pause(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Pause the run, as Ctrl-C does."""
        response.success = self.task.training
        response.message = (
            f'pausing; continue with dff train --resume {self.task.folder.path}'
            if response.success
            else 'only a training run can be paused'
        )
        if response.success:
            self.stop(PAUSED)
        return response

    def stop(self, reason: str) -> None:
        """Pause a run that trains; the second time, end it as it is."""
        orderly = reason in ORDERLY and self._phase_now == msg.RunConfig.RUNNING
        if orderly and self.task.training and not self._pausing:
            self._pausing = True
        else:
            super().stop(reason)

    def _on_foreign_config(self, message: msg.RunConfig) -> None:
        wrong = soundness.of_config(message)
        foreign = messages.run_id_text(message.run_id) != self.run_id
        if not wrong and foreign and self._phase_now is not None:
            wrong = 'it belongs to another run'
        if wrong:
            self.reject('config', wrong)
        elif foreign and message.phase == msg.RunConfig.RUNNING:
            self._foreign = f'run {message.run_name} on {message.host}'

    # ---- the nodes -----------------------------------------------------------------------

    def _await_layers(self) -> None:
        """Wait for a heartbeat of every layer, so that none misses the beginning."""
        limit = time.monotonic() + self.stream.appear_s
        within_s = max(5.0, 3 * self.stream.heartbeat_s)
        while missing := self.layers.missing(within_s):
            self.check()
            if time.monotonic() > limit:
                raise RunFailed(self._explain_missing(missing))
            self.waiting(f'{", ".join(missing)} to appear')
            with self.changed:
                self.changed.wait(0.5)
        if self._foreign:
            raise ConfigError(
                f'the namespace {self.get_namespace()} is in use by {self._foreign}: choose '
                'another name for this run (--name, or run:= of the launch file)'
            )
        self.waiting(None)

    def _explain_missing(self, missing: list[str]) -> str:
        return (
            f'{", ".join(missing)} did not appear within '
            f'{self.stream.appear_s:.0f} s (stream.appear_s): is it started there, in the '
            f'namespace {self.get_namespace()} and with the same ROS_DOMAIN_ID, and does '
            'multicast reach it? `dff doctor` on that device tells'
        )

    def _check_silence(self) -> None:
        """A layer without a heartbeat for long ends the run."""
        for layer in range(len(self.names)):
            silent_s = self.layers.silent_s(layer)
            if silent_s > self.stream.silence_s:
                raise RunFailed(
                    f'{self.layers.place(layer)} has been silent for {silent_s:.0f} s '
                    '(stream.silence_s): is its process still there, and the network up? '
                    f'Continue with: dff train --resume {self.task.folder.path}'
                )

    # ---- the journal ---------------------------------------------------------------------

    def _journal_incarnations(self) -> None:
        """Write down which nodes came back, for a coordinator that comes back itself."""
        if self.layers.incarnations != self._journaled_incarnations:
            self._journaled_incarnations = list(self.layers.incarnations)
            self._journal({'incarnations': self._journaled_incarnations})

    def _journal(self, record: dict[str, Any]) -> None:
        """Write a record; without room, wait until there is some."""
        while True:
            try:
                self.task.journal.append(record)
                return
            except OSError as error:
                self._await_room(error)

    def _await_room(self, error: OSError) -> None:
        self.await_room(error)
        if self._told_room.get(-1) != self.waiting_for:
            self._told_room[-1] = self.waiting_for
            text = f'the coordinator waits for {self.waiting_for}'
            self.emit({'event': 'warning', 'text': text})
        super().check()

    def _sync_journal(self) -> None:
        """Make what was decided durable, beside all else."""
        if self.task.journal is None or (self._syncing and not self._syncing.done()):
            return
        if self._syncing is not None and isinstance(self._syncing.exception(), OSError):
            self.get_logger().warning(f'the journal cannot be synced: {self._syncing.exception()}')
        self._syncing = self._thread.submit(self.task.journal.sync)

    # ---- what goes out -------------------------------------------------------------------

    @property
    def _seconds(self) -> float:
        """How long the run has trained, in all processes that this coordinator has been, s."""
        now = time.monotonic()
        return self._before_s + now - (self._began_s or now)

    def _publish_config(self, phase: int, reason: str = '') -> None:
        self._phase_now = phase
        self._config.publish(
            msg.RunConfig(
                stamp=self.get_clock().now().to_msg(),
                protocol_version=msg.RunConfig.PROTOCOL_VERSION,
                run_id=messages.run_id_bytes(self.run_id),
                run_name=self.task.folder.name,
                host=self.host,
                phase=phase,
                reason=reason,
                config_hash=self.task.config_hash,
                config=self.resolved.to_json(),
                first_item=self.task.first_item,
                items=self.task.items,
                training=self.task.training,
                data_sha256=self.data_sha256,
                incarnations=array('I', self.layers.incarnations),
                silent_s=array('f', self.layers.silences()),
            )
        )

    def _end_run(self, finish: Callable[[], None]) -> None:
        """
        Finish the run and tell the nodes; one that dies in between comes back and tells them.

        :param finish: writes the result.
        """
        if self.task.training:
            self._journal({'told': False})
        reach(FaultPoint.BEFORE_RESULT)
        finish()
        reach(FaultPoint.AFTER_RESULT)
        self._publish_config(msg.RunConfig.FINISHED)

    def _report_progress(self) -> None:
        if self._began_s is None:
            self._report_phase(f'waiting for {self.waiting_for}' if self.waiting_for else '')
            return
        self._tell_silence()
        self.emit({'event': 'progress', **self._progress()})

    def _report_phase(self, text: str) -> None:
        """Say what is going on, once."""
        if text and text != self._phase:
            self._phase = text
            self.emit({'event': 'phase', 'text': text})

    def _beat(self) -> None:
        if self._phase_now == msg.RunConfig.RUNNING:
            # Latched, but a node that came late has been seen to miss it: then it gets the next.
            self._publish_config(msg.RunConfig.RUNNING)
        level = DiagnosticStatus.ERROR if self.error else DiagnosticStatus.OK
        if self.waited_s > 10:
            level = DiagnosticStatus.WARN
            self.get_logger().info(
                f'coordinator: waiting for {self.waiting_for}, {self.waited_s:.0f} s so far',
                throttle_duration_sec=10.0,
            )
        text = str(self.error or self.awaited or 'feeding')
        self.diagnose(level, text, {'item': self.now_at})

    def at_end(self) -> None:
        """Tell every node how the run ended, and stay until they have heard it."""
        self.metrics_file.close()
        error = self.error or (RunFailed(self._stop_reason) if self._stop_reason else None)
        if self.error is None and self.task.training and self._stop_reason in ORDERLY[1:]:
            self._publish_config(msg.RunConfig.PAUSED)
        elif error is not None:
            self._publish_config(msg.RunConfig.FAILED, str(error))
            status = 2 if isinstance(error, ConfigError) else 1
            self.emit({'event': 'error', 'text': str(error), 'status': status})
        finished = self._phase_now == msg.RunConfig.FINISHED
        # Of a run that failed, the node that is the reason will never hear of it.
        self.await_heard(self._config, FINISHED_S if finished else ENDED_S)
        if finished and self.task.training:
            self._journal_told()

    def _journal_told(self) -> None:
        try:
            self.task.journal.append({'told': True})
        except OSError as error:
            self.get_logger().warning(f'the end of the run cannot be written down: {error}')


def run_parameters(node: Participant) -> dict[str, Any]:
    """Read the parameters that say which run it is: those of schedules.task.train_folder."""
    return {
        'config': node.parameter('config', '', 'configuration file; empty: the digits'),
        'overrides': json.loads(node.parameter('set', '[]', 'JSON list of key=value overrides')),
        'runs': Path(node.parameter('runs', 'runs', 'folder that holds the run folders')),
        'run': node.parameter('run', '', 'name of the run; made up when empty'),
    }


def host_run(make: Callable[[Emit], RunHost], arguments: list[str] | None) -> NoReturn:
    """Be the process of a coordinator until its run ends."""
    die_with_parent()
    prefer_throughput()
    if os.environ.get(EVENTS_VARIABLE) == 'json':
        run_node(lambda: _made_for_command(make), arguments)
    run_node(lambda: make(emit_log), arguments)


def _made_for_command(make: Callable[[Emit], RunHost]) -> RunHost:
    """Make the node, and tell the command that started it what of its request was wrong."""
    try:
        return make(emit_json)
    except (ConfigError, DataError) as error:
        emit_json({'event': 'error', 'text': str(error), 'status': exit_status(error)})
        raise


def emit_json(event: dict[str, Any]) -> None:
    """Write an event as one line of standard output, for the command that started this node."""
    sys.stdout.write(json.dumps(event) + '\n')
    sys.stdout.flush()


def emit_log(event: dict[str, Any]) -> None:
    """Write an event to the ROS log, for a node that launch or a person started."""
    logger = get_logger('coordinator')
    if event['event'] == 'error':
        logger.error(event['text'])
    elif line := event_line(event):
        logger.info(line)
