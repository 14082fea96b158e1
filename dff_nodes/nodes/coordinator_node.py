# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node that feeds a run and collects its scores."""

from __future__ import annotations

import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from dff_msgs import msg
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.logging import get_logger
from std_srvs.srv import Trigger

from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.layer_watch import LayerWatch, known_incarnations
from dff_nodes.nodes.link import IncomingLink, OutgoingLink, Rewound
from dff_nodes.nodes.participant import (
    ORDERLY,
    PAUSED,
    ROOM,
    Participant,
    RunFailed,
    run_node,
)
from dff_nodes.nodes.process import (
    EVENTS_VARIABLE,
    die_with_parent,
    prefer_throughput,
    process_started_s,
)
from dff_nodes.nodes.replication import ReplicaKeeper
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.fault_points import FaultPoint, arm, reach
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.memory import peak_rss_mb
from dff_nodes.runs.metrics import MetricsFile, NoMetricsFile
from dff_nodes.runs.result import RunFigures, build_result
from dff_nodes.schedules.decisions import decisions
from dff_nodes.schedules.progress import evaluation_event, event_line
from dff_nodes.schedules.task import Task, make_task
from dff_nodes.stream.codec import Rejected, check_answers, check_rows, check_scores, encode
from dff_nodes.stream.item import Item, Kind
from dff_nodes.stream.receiver import Receiver

PROGRESS_S = 0.5
ALIVE_BEATS = 2
"""heartbeats within which one of a layer must have come for the layer to be there"""
SYNC_S = 0.5
"""between two syncs of the journal"""
SILENT_S = 3.0
"""without a heartbeat for so long besides two that may be missed, a layer is waited for"""
PAUSE_S = 3.0
"""for all layers to save behind the same item; then each saves where it is"""


class CoordinatorNode(Participant):
    """
    Feeds the stream, gives credit for the layers' scores, and writes the run's result.

    What is fed and what the scores mean is decided by StreamCoordinator, which knows nothing
    of ROS; this node moves it between topics.

    :param emit: takes progress events (see cli/view.py).
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        super().__init__('coordinator')
        self.emit = emit
        self.task = self._make_task()
        self.resolved = self.task.resolved
        self.stream = self.resolved.config.stream
        self.logic = self.task.coordinator
        self.names = [shape.name for shape in self.resolved.layers]
        self.run_id = self.task.run_id
        self.incarnation = next_incarnation(self.task.folder.checkpoints, 'coordinator')
        self.identity = messages.Sender(self.run_id, self.incarnation)
        arm('coordinator', self.incarnation)
        records = self.task.journal.read() if self.task.journal else []
        self.layers = LayerWatch(self.resolved, known_incarnations(records))
        self.metrics_file = (
            MetricsFile(self.task.folder.metrics_file) if self.task.training else NoMetricsFile()
        )
        self._trained_samples = 0
        self._progress_from: tuple[int, float] | None = None
        self._reported = len(self.logic.evaluations)
        self._began_s: float | None = None
        self._before_s = max((record.get('seconds', 0.0) for record in records), default=0.0)
        """how long the run had trained when this process was started, s"""
        self._phase_now: int | None = None
        self._now_at: Item | None = None
        self._last_save_s = time.monotonic()
        self._bytes_since_save = 0
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
        self._make_links()
        self.replicas = (
            ReplicaKeeper(self, self.task.folder.checkpoints)
            if self.resolved.config.checkpoint.replicate and self.task.training
            else None
        )
        self.create_timer(PROGRESS_S, self._report_progress)
        self.create_timer(self.stream.heartbeat_s, self._beat)
        self.create_timer(SYNC_S, self._sync_journal)
        self.create_service(Trigger, '~/pause', self._on_pause)
        self.start_worker(self._work)

    def _make_task(self) -> Task:
        return make_task(
            task=self.parameter('task', 'train', 'train, evaluate, calibrate or classify'),
            config=self.parameter('config', '', 'configuration file; empty: the digits'),
            overrides=json.loads(self.parameter('set', '[]', 'JSON list of key=value overrides')),
            runs=Path(self.parameter('runs', 'runs', 'folder that holds the run folders')),
            run=self.parameter('run', '', 'name of the run; made up when empty'),
            images=self.parameter('images', '', 'classify: .npz of the images'),
        )

    def _make_links(self) -> None:
        window, items = self.stream.window_items, self.task.items
        self.items = OutgoingLink(
            self,
            self,
            self.run_id,
            self.create_publisher(msg.Activations, 'layer_0/input', qos.bulk(window)),
            'layer_0/credit',
            items,
            lambda: self.layers.place(0),
        )
        self.scores = [
            IncomingLink(
                self, self, self.run_id, f'{name}/goodness_credit', 'goodness', self._durable
            )
            for name in self.names
        ]
        self.create_subscription(
            msg.Goodness, 'goodness', self._on_goodness, qos.bulk(window * len(self.names))
        )
        for link in self.scores:
            link.begin(Receiver(self.logic.settled, window, self.incarnation))

    def _durable(self) -> int | None:
        """Scores before which none will be asked for again; all in an evaluation."""
        return self.task.journal.synced if self.task.journal else None

    # ---- what comes in -------------------------------------------------------------------

    def _on_goodness(self, message: msg.Goodness) -> None:
        if message.layer >= len(self.scores):
            self.reject('goodness', f'layer {message.layer} is not in this network')
            return

        def decode() -> tuple[int, Any]:
            planned = self.logic.scored_item(message.sequence)
            number = planned.number if planned else None
            if message.item != number:
                raise Rejected(f'item is {message.item}, {number} is right')
            if message.measure > msg.Goodness.READOUT:
                raise Rejected(f'measure {message.measure} is unknown')
            expected = (self.logic.samples_of(planned), self.resolved.facts.classes)
            sizes = (message.samples, message.classes, expected)
            if self.resolved.has_early_exit:
                return message.item, *check_answers(message.scores, message.rows, *sizes)
            check_rows(message.rows, 0, 0)
            return message.item, check_scores(message.scores, *sizes)

        link = self.scores[message.layer]
        size = 4 * (len(message.scores) + len(message.rows))
        link.offer(message, message.sequence, decode, size)

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
        wrong = soundness.of_metrics(message, len(self.names), self.task.items)
        if not wrong and messages.run_id_text(message.run_id) != self.run_id:
            wrong = 'it belongs to another run'
        known = self.layers.incarnations[message.layer] if not wrong else 0
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

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        self._await_layers()
        self._publish_config(msg.RunConfig.RUNNING)
        while True:
            try:
                self._begin_feed()
                self._feed()
                if not self._is_finished():
                    self._pause()
                    return
                self._await_reports()
                self._finish()
                return
            except Rewound:
                self.emit(
                    {
                        'event': 'warning',
                        'text': f'{self.layers.place(0)} came back without its newest '
                        'checkpoint; it is fed again from an older item',
                    }
                )

    def check(self) -> None:
        """Raise Stopped if the node shall end, Rewound if layer 0 wants older items."""
        super().check()
        if self.items.rewound:
            raise Rewound

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

    def _begin_feed(self) -> None:
        """Begin with the first item that layer 0 may still ask for."""
        while self.items.credit is None:
            super().check()
            if self._pausing:
                super().stop(PAUSED)
            self._report_phase('the layers are building')
            self._check_silence()
            with self.changed:
                self.changed.wait(0.5)
        first = self.items.credit.durable if self.task.training else self.task.first_item
        self._journal_decisions()
        decided = decisions(self.task.journal.read()) if self.task.journal else []
        self.logic.rewind(first, decided)
        self.items.begin(first, self.resolved.replay_bytes, self.stream.resend_s)
        # The time of a run begins when layer 0 is ready for its first item.
        self._began_s = self._began_s or time.monotonic()

    def _feed(self) -> None:
        """Give out items under credit, and take scores in, until all is settled or it pauses."""
        while not self._pausing and not self._is_finished():
            self.check()
            moved = self._take_scores()
            if self._may_send():
                self._send_next()
                moved = True
            if moved:
                self.waiting(None)
            else:
                self._await_change()

    def _is_finished(self) -> bool:
        with self.changed:
            return self.logic.finished

    def _may_send(self) -> bool:
        """Whether there is a next item, and credit for it."""
        ready = not self.logic.fed and self.logic.waiting_for_scores is None
        return ready and self.items.has_room(self.resolved.item_bytes(0))

    def _await_change(self) -> None:
        """Wait for scores or credit; looked at again under the lock, so that none is missed."""
        self.waiting(self._awaited())
        with self.changed:
            idle = not any(link.queued for link in self.scores) and not self._may_send()
            if idle and not self._pausing:
                self.changed.wait(0.2)
        self._check_silence()

    def _send_next(self) -> None:
        self.logic.save_next = self._save_is_due()
        item = self.logic.next_item()
        self._send(item)

    def _send(self, item: Item) -> None:
        wire = encode(item)
        self.items.send(
            lambda _: messages.activations(wire, self.identity, self.get_clock().now().to_msg()),
            wire.payload_bytes,
        )
        reach(FaultPoint.AFTER_EMIT)
        self._now_at = item
        if item.kind == Kind.TRAIN:
            self._trained_samples += item.batch.samples
        self._bytes_since_save += self._largest_hop_bytes(item)
        if item.checkpoint:
            self._last_save_s = time.monotonic()
            self._bytes_since_save = 0

    def _save_is_due(self) -> bool:
        """Whether layers save behind the next item; it changes no result."""
        checkpoint = self.resolved.config.checkpoint
        number = self._now_at.number + 2 if self._now_at else self.task.first_item + 1
        return (
            time.monotonic() - self._last_save_s >= checkpoint.every_s
            or (checkpoint.every_items > 0 and number % checkpoint.every_items == 0)
            or self._bytes_since_save >= self.resolved.save_after_bytes
        )

    def _largest_hop_bytes(self, item: Item) -> int:
        """Payload of an item where it is largest: what a sender there keeps for replay."""
        if item.batch is None:
            return 0
        return max(
            self.resolved.hop_bytes(layer, item.kind.name, item.batch.samples)
            for layer in range(len(self.names))
        )

    def _take_scores(self) -> bool:
        moved = False
        for layer, link in enumerate(self.scores):
            while (content := link.take()) is not None:
                with self.changed:
                    self.logic.add_scores(layer, *content)
                moved = True
        self._journal_decisions()
        return moved

    def _journal_decisions(self) -> None:
        """Write down what was decided, and what came of a whole evaluation."""
        if self.task.journal is None:
            return
        if self.layers.incarnations != self._journaled_incarnations:
            self._journaled_incarnations = list(self.layers.incarnations)
            self._journal({'incarnations': self._journaled_incarnations})
        for decision in self.logic.take_decisions():
            reach(FaultPoint.BEFORE_JOURNAL)
            self._journal(decision.as_record() | {'seconds': round(self._seconds, 3)})
            reach(FaultPoint.AFTER_JOURNAL)
        for evaluation in self.logic.evaluations[self._reported :]:
            self._journal({'evaluation': asdict(evaluation)})
            self.emit(evaluation_event(evaluation))
        self._reported = len(self.logic.evaluations)

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

    def _awaited(self) -> str:
        if self.logic.waiting_for_scores:
            return self.logic.waiting_for_scores
        return 'the last scores' if self.logic.fed else f'credit from {self.layers.place(0)}'

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

    @property
    def _seconds(self) -> float:
        """How long the run has trained, in all processes that this coordinator has been, s."""
        now = time.monotonic()
        return self._before_s + now - (self._began_s or now)

    def _pause(self) -> None:
        """Let all layers save behind the same item, and end them."""
        limit = time.monotonic() + PAUSE_S
        self._report_phase('pausing: the layers save where they are')
        behind = self._send_last_before_pause(limit)
        while behind and time.monotonic() < limit:
            super().check()
            self._take_scores()
            # What was decided must reach as far as the checkpoints, or they are of no use.
            if self.layers.all_saved(behind) and self.logic.settled_before(behind):
                break
            with self.changed:
                self.changed.wait(0.1)
        self.task.journal.sync()
        done = self._now_at.number + 1 if self._now_at else 0
        self._publish_config(msg.RunConfig.PAUSED)
        text = f'paused at item {done} of {self.task.items}: continue with dff train --resume '
        self.emit({'event': 'error', 'text': f'{text}{self.task.folder.path}', 'status': 1})

    def _send_last_before_pause(self, limit: float) -> int | None:
        """Send one more item that asks for checkpoints; give the item behind it."""
        while time.monotonic() < limit:
            self._take_scores()
            if self.logic.fed:
                return self.task.items
            if self._may_send():
                self.logic.save_next = True
                item = self.logic.next_item()
                self._send(item)
                return item.number + 1
            with self.changed:
                self.changed.wait(0.1)
        return None

    def _await_reports(self) -> None:
        """Wait for the final figures of every layer."""
        self._total_s = self._seconds
        while True:
            self.check()
            late = self.layers.unfinished()
            if not late:
                return
            self.waiting(f'the final figures of {", ".join(late)}')
            self._check_silence()
            with self.changed:
                self.changed.wait(0.5)

    def _finish(self) -> None:
        self.waiting(None)
        result = build_result(self.resolved, self._figures(), self.layers.reports())
        reach(FaultPoint.BEFORE_RESULT)
        self.task.finish(result, self.emit)
        reach(FaultPoint.AFTER_RESULT)
        self._publish_config(msg.RunConfig.FINISHED)

    def _figures(self) -> RunFigures:
        return RunFigures(
            evaluations=list(self.logic.evaluations),
            items=self._now_at.number + 1,
            trained_samples=self._trained_samples,
            seconds=self._total_s,
            setup_seconds=self._began_s - process_started_s(),
            coordinator_peak_rss_mb=peak_rss_mb(),
            rejected_messages=sum(self.rejected.values()),
            coordinator_restarts=self.incarnation - 1,
        )

    # ---- what goes out -------------------------------------------------------------------

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
                incarnations=array('I', self.layers.incarnations),
            )
        )

    def _report_progress(self) -> None:
        if self._began_s is None:
            self._report_phase(f'waiting for {self.waiting_for}' if self.waiting_for else '')
            return
        self._tell_silence()
        seconds = self._seconds
        items, done = self.task.items, self._now_at.number + 1 if self._now_at else 0
        begun, since = self._progress_from or (done, seconds)
        self._progress_from = begun, since
        left = (seconds - since) / (done - begun) * (items - done) if done > begun else None
        self.emit(
            {
                'event': 'progress',
                'item': done,
                'items': items,
                'epoch': self._now_at.epoch if self._now_at else 0,
                'epochs': self.resolved.config.training.epochs,
                'seconds': seconds,
                'left_s': left,
                'samples_per_second': self._trained_samples / max(seconds - self._before_s, 1e-9),
                'waiting_for': self.awaited,
                'layers': self.layers.progress(),
            }
        )

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
        self.diagnose(level, text, {'item': self._now_at.number if self._now_at else 0})

    def at_end(self) -> None:
        """Tell every node how the run ended, and give the middleware time to deliver it."""
        self.metrics_file.close()
        if self.replicas is not None:
            self.replicas.end()
        error = self.error or (RunFailed(self._stop_reason) if self._stop_reason else None)
        if self.error is None and self.task.training and self._stop_reason in ORDERLY[1:]:
            self._publish_config(msg.RunConfig.PAUSED)
        elif error is not None:
            self._publish_config(msg.RunConfig.FAILED, str(error))
            status = 2 if isinstance(error, ConfigError) else 1
            self.emit({'event': 'error', 'text': str(error), 'status': status})
        time.sleep(0.3)


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


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the coordinator until its run ends."""
    die_with_parent()
    prefer_throughput()
    emit = emit_json if os.environ.get(EVENTS_VARIABLE) == 'json' else emit_log
    run_node(lambda: CoordinatorNode(emit), arguments)


if __name__ == '__main__':
    main()
