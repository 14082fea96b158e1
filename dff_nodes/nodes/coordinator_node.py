# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node that feeds a run and collects its scores."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from dff_msgs import msg
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.logging import get_logger

from dff_nodes.nodes import messages, qos
from dff_nodes.nodes.layer_watch import LayerWatch
from dff_nodes.nodes.link import IncomingLink, OutgoingLink
from dff_nodes.nodes.participant import Participant, RunFailed, run_node
from dff_nodes.nodes.process import (
    EVENTS_VARIABLE,
    die_with_parent,
    prefer_throughput,
    process_started_s,
)
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.memory import peak_rss_mb
from dff_nodes.runs.metrics import MetricsFile, NoMetricsFile
from dff_nodes.runs.result import RunFigures, build_result
from dff_nodes.schedules.progress import evaluation_event, event_line, saved_progress
from dff_nodes.schedules.task import Task, make_task
from dff_nodes.stream.codec import check_scores, encode
from dff_nodes.stream.item import Item, Kind, Mark
from dff_nodes.stream.receiver import Receiver
from dff_nodes.stream.sender import Sender

PROGRESS_S = 0.5


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
        self.incarnation = next_incarnation(self.task.folder.checkpoints, 'coordinator')
        self.identity = messages.Sender(self.task.run_id, self.incarnation)
        self.layers = LayerWatch(self.resolved)
        self.metrics_file = (
            MetricsFile(self.task.folder.metrics_file) if self.task.training else NoMetricsFile()
        )
        self._trained_samples = 0
        self._reported = len(self.logic.evaluations)
        self._began_s: float | None = None
        self._now_at: Item | None = None
        self._save_pending: Item | None = None
        self._last_save_s = time.monotonic()
        self._foreign: str | None = None
        self._phase = ''
        self._config = self.create_publisher(msg.RunConfig, 'config', qos.LATCHED)
        self.create_subscription(msg.RunConfig, 'config', self._on_foreign_config, qos.LATCHED)
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.LayerMetrics, 'metrics', self._on_metrics, qos.METRICS)
        self._make_links()
        self.create_timer(PROGRESS_S, self._report_progress)
        self.create_timer(self.stream.heartbeat_s, self._beat)
        self.start_worker(self._work)

    def _make_task(self) -> Task:
        return make_task(
            task=self.parameter('task', 'train', 'train, evaluate or classify'),
            config=self.parameter('config', '', 'configuration file; empty: the digits'),
            overrides=json.loads(self.parameter('set', '[]', 'JSON list of key=value overrides')),
            runs=Path(self.parameter('runs', 'runs', 'folder that holds the run folders')),
            run=self.parameter('run', '', 'name of the run; made up when empty'),
            images=self.parameter('images', '', 'classify: .npz of the images'),
        )

    def _make_links(self) -> None:
        first_item = self.task.first_item
        replay = int(self.stream.replay_mb * 1e6)
        self.items = OutgoingLink(
            self,
            self,
            self.identity,
            self.create_publisher(
                msg.Activations, 'layer_0/input', qos.bulk(self.stream.window_items)
            ),
            'layer_0/credit',
            Sender(first_item, replay, self.stream.resend_s),
            lambda: self.layers.place(0),
        )
        self.scores = [
            IncomingLink(
                self,
                self,
                self.identity,
                f'{name}/goodness_credit',
                Receiver(0, self.stream.window_items, self.incarnation),
                'goodness',
            )
            for name in self.names
        ]
        depth = self.stream.window_items * len(self.names)
        self.create_subscription(msg.Goodness, 'goodness', self._on_goodness, qos.bulk(depth))

    # ---- what comes in -------------------------------------------------------------------

    def _on_goodness(self, message: msg.Goodness) -> None:
        if message.layer >= len(self.scores):
            self.reject('goodness', f'layer {message.layer} is not in this network')
            return

        def decode() -> tuple[int, Any]:
            samples = self.logic.samples_of(message.item)
            expected = (samples or 0, self.resolved.facts.classes)
            scores = check_scores(message.scores, message.samples, message.classes, expected)
            return message.item, scores

        link = self.scores[message.layer]
        link.offer(message, message.sequence, decode, 4 * len(message.scores))

    def _on_status(self, message: msg.LayerStatus) -> None:
        run_id = messages.run_id_text(message.run_id)
        if message.layer >= len(self.names) or run_id not in (
            self.identity.run_id,
            messages.NO_RUN,
        ):
            return
        with self.changed:
            self.layers.on_status(message)
            self.changed.notify_all()
        if message.state == msg.LayerStatus.ERROR and message.error:
            self.fail(RunFailed(f'{self.layers.place(message.layer)}: {message.error}'))

    def _on_metrics(self, message: msg.LayerMetrics) -> None:
        if message.layer < len(self.names):
            self.layers.on_metrics(message)
            seconds = time.monotonic() - (self._began_s or time.monotonic())
            self.metrics_file.write(messages.metrics_row(message, seconds))

    def _on_foreign_config(self, message: msg.RunConfig) -> None:
        foreign = messages.run_id_text(message.run_id) != self.identity.run_id
        if foreign and message.phase == msg.RunConfig.RUNNING:
            self._foreign = f'run {message.run_name} on {message.host}'

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        self._await_layers()
        self._publish_config(msg.RunConfig.RUNNING)
        self._await_credit()
        self._began_s = time.monotonic()
        self._feed()
        self._await_reports()
        self._finish()

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

    def _await_credit(self) -> None:
        """The time of a run begins when layer 0 is ready for its first item."""
        self._report_phase('the layers are building')
        while not self.items.has_room(0):
            self.check()
            self._check_silence()
            with self.changed:
                self.changed.wait(0.5)

    def _feed(self) -> None:
        """Give out items under credit, and take scores in, until all is settled."""
        while not self.logic.finished:
            self.check()
            moved = self._take_scores()
            if self._may_send():
                self._send_next()
                moved = True
            self._note_saved()
            if moved:
                self.waiting(None)
            else:
                self._await_change()

    def _may_send(self) -> bool:
        """Whether there is a next item, and credit for it."""
        ready = not self.logic.fed and self.logic.waiting_for_scores is None
        return ready and self.items.has_room(self.resolved.item_bytes(0))

    def _await_change(self) -> None:
        """Wait for scores or credit; looked at again under the lock, so that none is missed."""
        self.waiting(self._awaited())
        with self.changed:
            if not any(link.queued for link in self.scores) and not self._may_send():
                self.changed.wait(0.2)
        self._check_silence()

    def _send_next(self) -> None:
        due = time.monotonic() - self._last_save_s >= self.resolved.config.checkpoint.every_s
        self.logic.save_at_marks = due and self._save_pending is None
        item = self.logic.next_item()
        wire = encode(item)
        self.items.send(
            lambda _: messages.activations(wire, self.identity, self.get_clock().now().to_msg()),
            wire.payload_bytes,
        )
        self._now_at = item
        if item.kind == Kind.TRAIN:
            self._trained_samples += item.batch.samples
        if item.checkpoint and item.mark == Mark.END_OF_EPOCH:
            self._save_pending = item

    def _take_scores(self) -> bool:
        moved = False
        for layer, link in enumerate(self.scores):
            while (content := link.take()) is not None:
                item, scores = content
                self.logic.add_scores(layer, item, scores)
                moved = True
        for evaluation in self.logic.evaluations[self._reported :] if self.task.training else []:
            self.emit(evaluation_event(evaluation))
        self._reported = len(self.logic.evaluations)
        return moved

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

    def _note_saved(self) -> None:
        """Once every layer has a checkpoint of the same item, a resumed run can start there."""
        item = self._save_pending
        if item is None or not self.task.training:
            return
        behind = item.number + 1
        if self.layers.all_saved(behind) and self.logic.settled_before(item.number):
            self.task.folder.write_progress(saved_progress(behind, self.logic.evaluations))
            self._save_pending = None
            self._last_save_s = time.monotonic()

    def _await_reports(self) -> None:
        """Wait for the final figures of every layer."""
        self._seconds = time.monotonic() - self._began_s
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
        self.metrics_file.close()
        result = build_result(self.resolved, self._figures(), self.layers.reports())
        self.task.finish(result, self.emit)
        self._publish_config(msg.RunConfig.FINISHED)

    def _figures(self) -> RunFigures:
        return RunFigures(
            evaluations=list(self.logic.evaluations),
            items=self._now_at.number + 1,
            trained_samples=self._trained_samples,
            seconds=self._seconds,
            setup_seconds=self._began_s - process_started_s(),
            coordinator_peak_rss_mb=peak_rss_mb(),
            rejected_messages=sum(self.rejected.values()),
        )

    # ---- what goes out -------------------------------------------------------------------

    def _publish_config(self, phase: int, reason: str = '') -> None:
        self._config.publish(
            msg.RunConfig(
                stamp=self.get_clock().now().to_msg(),
                protocol_version=msg.RunConfig.PROTOCOL_VERSION,
                run_id=messages.run_id_bytes(self.identity.run_id),
                run_name=self.task.folder.name,
                host=self.host,
                phase=phase,
                reason=reason,
                config_hash=self.task.config_hash,
                config=self.resolved.to_json(),
                first_item=self.task.first_item,
                resume=self.task.resume,
                training=self.task.training,
            )
        )

    def _report_progress(self) -> None:
        if self._began_s is None:
            self._report_phase(f'waiting for {self.waiting_for}' if self.waiting_for else '')
            return
        seconds = time.monotonic() - self._began_s
        items, first = self.task.items, self.task.first_item
        done = self._now_at.number + 1 if self._now_at else first
        left = seconds / (done - first) * (items - done) if done > first else None
        self.emit(
            {
                'event': 'progress',
                'item': done,
                'items': items,
                'epoch': self._now_at.epoch if self._now_at else 0,
                'epochs': self.resolved.config.training.epochs,
                'seconds': seconds,
                'left_s': left,
                'samples_per_second': self._trained_samples / max(seconds, 1e-9),
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
        error = self.error or (RunFailed(self._stop_reason) if self._stop_reason else None)
        if error is not None:
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
