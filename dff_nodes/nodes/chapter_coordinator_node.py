# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The coordinator of a schedule with chapters: watches the workers, evaluates what they make."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from itertools import accumulate
from typing import Any, NoReturn

from dff_msgs import msg

from dff_nodes.learning.compute import compute_device, prepare_torch, warm_up
from dff_nodes.learning.layer import make_layer
from dff_nodes.nodes.part_client import PartClient
from dff_nodes.nodes.part_exchange import Tensors
from dff_nodes.nodes.part_server import PartServer
from dff_nodes.nodes.participant import PAUSED, Participant
from dff_nodes.nodes.process import process_started_s
from dff_nodes.nodes.run_host import RunHost, host_run, run_parameters
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.memory import peak_rss_mb
from dff_nodes.schedules.chapter_data import as_part, training_sha256
from dff_nodes.schedules.chapter_evaluation import ChapterEvaluation
from dff_nodes.schedules.chapter_result import ChapterFigures, WorkerReport, chapter_result
from dff_nodes.schedules.chapter_task import ChapterTask, chapter_task, read_evaluations
from dff_nodes.schedules.chapters import COORDINATOR, Need, Part
from dff_nodes.schedules.plan import Split
from dff_nodes.schedules.progress import evaluation_event
from dff_nodes.schedules.task import Emit

LOOK_S = 0.2
TIME_S = 5.0
"""between two records of how long the run has trained"""


NO_LOSS = dict.fromkeys(('loss', 'positive_goodness', 'negative_goodness'))
"""reports are of layers, which go from worker to worker"""


class _Pause(Exception):
    """The operator wants the run to pause."""


class ChapterCoordinatorNode(RunHost):
    """
    Announces the run, and takes what its evaluations need; the workers need it for nothing else.

    :param emit: takes progress events (see cli/view.py).
    """

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit, _task)
        self.plan = self.task.plan
        self.data_sha256 = training_sha256(self.task.dataset)
        self.evaluations = read_evaluations(self.records)
        self._evaluated = 0
        self._journaled_s = 0.0
        self._trained_s: float | None = None
        """for how long the run had trained when the last part was made"""
        self.weights_sha256 = [''] * self.plan.layers
        self.client = PartClient(
            self, self.plan, COORDINATOR, self.task.config_hash, lambda: self._evaluated
        )
        self.server: PartServer | None = None
        if self.plan.exists(self.plan.training_set):
            self.server = PartServer(
                self,
                self.plan,
                COORDINATOR,
                self._training_set,
                lambda layer: set(),
                lambda node, done: None,
                self.task.config_hash,
            )
        self.begin(self._work)

    def _training_set(self, part: Part) -> Tensors | None:
        """Give what workers without data of their own ask for."""
        return as_part(self.task.dataset) if part == self.plan.training_set else None

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        config = self.resolved.config
        self.device = compute_device(config.compute.device)
        prepare_torch(config.compute.threads, self.device, self.resolved.largest_buffer_bytes)
        warm_up()
        try:
            self._await_layers()
            self._publish_config(msg.RunConfig.RUNNING)
            self._await_begin()
            self._evaluate_all()
            self._keep_final()
            self._await_reports()
            self._finish()
        except _Pause:
            self._pause()

    def check(self) -> None:
        """Raise Stopped if the node shall end, _Pause if the run shall."""
        super().check()
        if self._pausing:
            raise _Pause

    def _look(self, waiting_for: str) -> None:
        self.check()
        self.waiting(waiting_for)
        self._check_silence()
        self._journal_incarnations()
        self._journal_time()

    def _journal_time(self) -> None:
        """Write down for how long the run has trained, for a coordinator that comes back."""
        if self._began_s is not None and time.monotonic() - self._journaled_s >= TIME_S:
            self._journaled_s = time.monotonic()
            self._journal({'seconds': round(self._seconds, 3)})

    def _wait(self, until: Callable[[], bool], waiting_for: Callable[[], str]) -> None:
        while not until():
            self._look(waiting_for())
            with self.changed:
                self.changed.wait(LOOK_S)
        self.waiting(None)

    def _await_begin(self) -> None:
        """The time of a run begins when a worker does."""
        self._wait(self.layers.any_trains, lambda: 'the workers to read their data')
        self._began_s = time.monotonic()

    def _evaluate_all(self) -> None:
        """Evaluate the chapters that are due, as soon as they are made."""
        known = {(each.epoch, each.split) for each in self.evaluations}
        evaluation = ChapterEvaluation(self.resolved, self.task.dataset, self.device)
        for chapter in range(self.plan.chapters):
            epoch = self.plan.epochs(chapter)[-1]
            due = [split for split in self.plan.evaluated(chapter) if (epoch, split) not in known]
            if due:
                self._evaluate(evaluation, chapter, due)
                # Workers forget what was evaluated, so it must be safe before they are told.
                self.task.journal.sync()
            self._evaluated = chapter + 1
        self.client.tell()

    def _evaluate(self, evaluation: ChapterEvaluation, chapter: int, due: list[Split]) -> None:
        evaluation.begin(chapter, due)
        for layer in range(self.plan.layers):
            learned = self._get(Need(Part(chapter, layer), whole=False))
            evaluation.add_layer(layer, learned)
        for each in evaluation.finish():
            self.evaluations.append(each)
            self._journal({'evaluation': asdict(each), 'seconds': round(self._seconds, 3)})
            self.emit(evaluation_event(each, self.plan.resolved.config.data))

    def _get(self, need: Need) -> Tensors:
        what = f'layer_{need.part.layer} of chapter {need.part.chapter + 1}'
        maker = self.plan.maker(need.part)
        tensors = self.client.take(
            need, lambda: self._look(f'{what} from {self.layers.place(maker)}')
        )
        self.waiting(None)
        return tensors

    def _keep_final(self) -> None:
        """Leave the trained network as every run does: one checkpoint per layer."""
        self._total_s = self._seconds
        run = self.run_id, self.task.config_hash
        for part in self.plan.final:
            tensors = self._get(Need(part, whole=True))
            layer = make_layer(self.resolved, part.layer, self.device)
            layer.load_state(tensors)
            self.weights_sha256[part.layer] = layer.weights_sha256()
            info = CheckpointInfo(*run, part.layer, self.plan.chapters, 0)
            self._store(info, layer.state())

    def _store(self, info: CheckpointInfo, state: Tensors) -> None:
        """Save a layer; without room, wait until there is some."""
        while True:
            try:
                CheckpointStore(self.task.folder.checkpoints, info.layer).save(info, state)
                return
            except OSError as error:
                self._await_room(error)

    def _await_reports(self) -> None:
        self._wait(
            lambda: not self.layers.unfinished(),
            lambda: f'the final figures of {", ".join(self.layers.unfinished())}',
        )

    def _finish(self) -> None:
        figures = ChapterFigures(
            self.evaluations,
            self._trained_samples,
            self._total_s,
            self._trained_s if self._trained_s is not None else self._total_s,
            self._began_s - process_started_s(),
            peak_rss_mb(),
            self.weights_sha256,
            sum(self.rejected.values()),
            self.incarnation - 1,
            self.client.received_bytes,
        )
        reports = [
            WorkerReport(
                status.received_bytes,
                status.resent_items,
                status.rejected_messages,
                status.incarnation - 1,
                status.peak_rss_mb,
                status.base_rss_mb,
                status.precision,
                status.own_accuracy if status.own_accuracy >= 0 else None,
                status.computing_s,
                status.waiting_s,
            )
            for status in self.layers.statuses()
        ]
        result = chapter_result(self.plan, figures, reports)
        self._end_run(lambda: self.task.finish(result, self.emit))

    def _pause(self) -> None:
        """Let the workers end; each goes on behind its last part."""
        self._journal({'seconds': round(self._seconds, 3)})
        self.task.journal.sync()
        self._publish_config(msg.RunConfig.PAUSED)
        text = (
            f'paused behind {self.now_at} of {self.task.parts} parts: continue with dff train '
            f'--resume {self.task.folder.path}'
        )
        self.emit({'event': 'error', 'text': text, 'status': 1})
        super().stop(PAUSED)

    # ---- what goes out -------------------------------------------------------------------

    def _what_is_wrong(self, message: msg.LayerStatus) -> str | None:
        wrong = super()._what_is_wrong(message)
        if not wrong and message.item > self.plan.count_of(message.layer):
            wrong = f'item is {message.item}, more than there is to make'
        return wrong

    @property
    def now_at(self) -> int:
        """Parts that are made."""
        return sum(status.item for status in self.layers.statuses())

    @property
    def metrics_items(self) -> int:
        """See RunHost.metrics_items."""
        return self.plan.steps_before(self.plan.chapters)

    @property
    def metrics_layers(self) -> int:
        """See RunHost.metrics_layers."""
        return self.plan.layers

    def known_incarnation(self, message: msg.LayerMetrics) -> int:
        """See RunHost.known_incarnation; a report names a layer, whichever worker trains it."""
        return 0

    @property
    def _trained_samples(self) -> int:
        """Samples times layers of all parts that are made."""
        return sum(
            self._samples[worker][status.item]
            for worker, status in enumerate(self.layers.statuses())
        )

    @cached_property
    def _samples(self) -> list[list[int]]:
        """Samples times layers of the first parts of each worker, by their number."""
        each = self.plan.epochs_each
        return [
            list(
                accumulate(
                    (
                        each * self.resolved.chapter_samples(part.chapter)
                        if self.plan.is_layer(part)
                        else 0
                        for part in self.plan.parts_of(worker)
                    ),
                    initial=0,
                )
            )
            for worker in range(self.plan.workers)
        ]

    def _on_status(self, message: msg.LayerStatus) -> None:
        super()._on_status(message)
        if self._trained_s is None and self.now_at == self.task.parts:
            self._trained_s = self._seconds

    def _progress(self) -> dict[str, Any]:
        seconds, done = self._seconds, self.now_at
        left = seconds / done * (self.task.parts - done) if done else None
        per_layer = self._trained_samples / self.plan.layers
        return {
            'item': done,
            'items': self.task.parts,
            'epoch': min(
                done * self.plan.chapters // self.task.parts * self.plan.epochs_each,
                self.resolved.config.training.epochs - 1,
            ),
            'epochs': self.resolved.config.training.epochs,
            'seconds': seconds,
            'left_s': left,
            'samples_per_second': per_layer / max(seconds, 1e-9),
            'waiting_for': '',
            'layers': [row | NO_LOSS for row in self.layers.progress()],
        }


def _task(node: Participant) -> ChapterTask:
    """Make what the node's parameters describe."""
    node.parameter('task', 'train', 'train; weights are evaluated by the nodes of the layers')
    node.parameter('images', '', 'not used')
    return chapter_task(**run_parameters(node))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the coordinator until its run ends."""
    host_run(ChapterCoordinatorNode, arguments)


if __name__ == '__main__':
    main()
