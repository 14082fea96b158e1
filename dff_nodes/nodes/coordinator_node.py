# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node that feeds a run and collects its scores."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, NoReturn

from dff_msgs import msg

from dff_nodes.learning.compute import smallest_become_zero
from dff_nodes.nodes import messages, qos
from dff_nodes.nodes.link import IncomingLink, OutgoingLink, Rewound
from dff_nodes.nodes.participant import PAUSED, Participant
from dff_nodes.nodes.process import process_started_s
from dff_nodes.nodes.replication import ReplicaKeeper
from dff_nodes.nodes.run_host import RunHost, host_run, run_parameters
from dff_nodes.runs.fault_points import FaultPoint, reach
from dff_nodes.runs.memory import peak_rss_mb
from dff_nodes.runs.result import RunFigures, build_result
from dff_nodes.schedules.decisions import decisions
from dff_nodes.schedules.progress import evaluation_event
from dff_nodes.schedules.task import Emit, Task, make_task
from dff_nodes.stream.codec import Rejected, check_answers, check_rows, check_scores, encode
from dff_nodes.stream.item import Item, Kind
from dff_nodes.stream.receiver import Receiver

PAUSE_S = 3.0
"""for all layers to save behind the same item; then each saves where it is"""


class CoordinatorNode(RunHost):
    """
    Feeds the stream, gives credit for the layers' scores, and writes the run's result.

    What is fed and what the scores mean is decided by StreamCoordinator, which knows nothing
    of ROS; this node moves it between topics.

    :param emit: takes progress events (see cli/view.py).
    """

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit, _task, lambda run: [shape.name for shape in run.layers])
        self.logic = self.task.coordinator
        self._trained_samples = 0
        self._progress_from: tuple[int, float] | None = None
        self._reported = len(self.logic.evaluations)
        self._now_at: Item | None = None
        self._last_save_s = time.monotonic()
        self._bytes_since_save = 0
        self._make_links()
        self.replicas = (
            ReplicaKeeper(self, self.task.folder.checkpoints)
            if self.resolved.config.checkpoint.replicate and self.task.training
            else None
        )
        self.begin(self._work)

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

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        smallest_become_zero()  # it chooses negatives from the layers' scores
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
        self._journal_incarnations()
        for decision in self.logic.take_decisions():
            reach(FaultPoint.BEFORE_JOURNAL)
            self._journal(decision.as_record() | {'seconds': round(self._seconds, 3)})
            reach(FaultPoint.AFTER_JOURNAL)
        for evaluation in self.logic.evaluations[self._reported :]:
            self._journal({'evaluation': asdict(evaluation)})
            self.emit(evaluation_event(evaluation, self.task.resolved.config.data))
        self._reported = len(self.logic.evaluations)

    def _awaited(self) -> str:
        if self.logic.waiting_for_scores:
            return self.logic.waiting_for_scores
        return 'the last scores' if self.logic.fed else f'credit from {self.layers.place(0)}'

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
        self._end_run(lambda: self.task.finish(result, self.emit))

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

    @property
    def now_at(self) -> int:
        """See RunHost.now_at."""
        return self._now_at.number + 1 if self._now_at else 0

    @property
    def metrics_items(self) -> int:
        """See RunHost.metrics_items."""
        return self.task.items

    def _progress(self) -> dict[str, Any]:
        seconds = self._seconds
        items, done = self.task.items, self.now_at
        begun, since = self._progress_from or (done, seconds)
        self._progress_from = begun, since
        left = (seconds - since) / (done - begun) * (items - done) if done > begun else None
        return {
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

    def at_end(self) -> None:
        """See RunHost.at_end."""
        if self.replicas is not None:
            self.replicas.end()
        super().at_end()


def _task(node: Participant) -> Task:
    """Make what the node's parameters describe."""
    return make_task(
        task=node.parameter('task', 'train', 'train, evaluate, calibrate or classify'),
        **run_parameters(node),
        images=node.parameter('images', '', 'classify: .npz of the images'),
    )


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the coordinator until its run ends."""
    host_run(CoordinatorNode, arguments)


if __name__ == '__main__':
    main()
