# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run with chapters in one process, without ROS: what every distributed one must equal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from dff_nodes.learning.compute import compute_device, precision_here, prepare_torch, warm_up
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.memory import peak_rss_mb, rss_mb
from dff_nodes.runs.metrics import MetricsAverage, MetricsFile, MetricsRow
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.chapter_data import worker_dataset
from dff_nodes.schedules.chapter_evaluation import ChapterEvaluation
from dff_nodes.schedules.chapter_result import ChapterFigures, WorkerReport, chapter_result
from dff_nodes.schedules.chapter_task import read_evaluations, task_of
from dff_nodes.schedules.chapter_worker import ChapterWorker, StepDone
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part
from dff_nodes.schedules.part_store import PartStore
from dff_nodes.schedules.progress import evaluation_event

Emit = Callable[[dict[str, Any]], None]
PROGRESS_S = 0.5


@dataclass
class ChapterReference:
    """
    Makes all parts of a run, one after the other.

    :param folder: of the run; goes on where what is in it ends.
    """

    folder: RunFolder
    emit: Emit
    trained_samples: int = 0
    rows: dict[int, MetricsRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task = task_of(self.folder)
        self.resolved, self.plan = self.task.resolved, self.task.plan
        self.dataset, self.journal = self.task.dataset, self.task.journal
        config = self.resolved.config
        self.device = compute_device(config.compute.device)
        prepare_torch(config.compute.threads, self.device, self.resolved.largest_buffer_bytes)
        warm_up()
        self.base_rss_mb = rss_mb()
        self._run = self.task.run_id, self.task.config_hash
        self.stores = [
            PartStore(self.folder.checkpoints, self.plan, worker, *self._run)
            for worker in range(self.plan.workers)
        ]
        self.metrics = MetricsFile(self.folder.metrics_file)
        self.evaluations = read_evaluations(self.journal.read())
        self._workers: dict[int, ChapterWorker] = {}
        every_s = config.metrics.every_s
        self._averages = [
            MetricsAverage(layer, every_s, time.monotonic()) for layer in range(self.plan.layers)
        ]
        self._told_s = 0.0

    def run(self) -> None:
        """Make what is not there yet, and evaluate."""
        self._began_s = time.monotonic()
        done = {worker: store.look()[0] for worker, store in enumerate(self.stores)}
        counts = dict.fromkeys(done, 0)
        evaluating_s = 0.0
        for part in self.plan.parts():
            maker = self.plan.maker(part)
            counts[maker] += 1
            if counts[maker] > done[maker]:
                self._make(part)
                done[maker] = counts[maker]
            if part.layer == self.plan.layers - 1:
                began = time.monotonic()
                self._evaluate(part.chapter)
                evaluating_s += time.monotonic() - began
            self.stores[maker].forget(done, part.chapter)
        self.seconds = time.monotonic() - self._began_s
        self.training_seconds = self.seconds - evaluating_s
        self.shard_accuracy = self._accuracy_on_shards()
        self._keep_final()
        self.metrics.close()
        self.journal.close()

    def _worker(self, part: Part) -> ChapterWorker:
        """One for all parts, unless the data differs from maker to maker."""
        owner = self.plan.maker(part) if self.plan.schedule.name == 'federated' else 0
        if owner not in self._workers:
            dataset = worker_dataset(self.resolved, self.dataset, owner)
            self._workers[owner] = ChapterWorker(self.resolved, dataset, self.device)
        return self._workers[owner]

    def _make(self, part: Part) -> None:
        worker = self._worker(part)
        for need in worker.missing(part):
            worker.load(part, need, self._read(worker, need))
        tensors = worker.make(part, self._on_step)
        self.stores[self.plan.maker(part)].begin(part, tensors).finish()

    def _read(self, worker: ChapterWorker, need: Need) -> dict[str, Tensor]:
        """Read a part as it travels."""
        tensors = self.stores[self.plan.maker(need.part)].load(need.part)
        if need.whole:
            return tensors
        names = worker.learned_names(need.part.layer)
        return {name: tensors[name] for name in names}

    def _on_step(self, step: StepDone) -> None:
        self.trained_samples += step.samples
        now = time.monotonic()
        average = self._averages[step.part.layer]
        average.add(step.figures, step.samples, 0.0)
        if average.due(now):
            row = average.take(now, now - self._began_s, step.step, step.epoch)
            if row:
                self.rows[row.layer] = row
                self.metrics.write(row)
        if now - self._told_s >= PROGRESS_S:
            self._told_s = now
            self._tell(step, now - self._began_s)

    def _tell(self, step: StepDone, seconds: float) -> None:
        self.emit(chapter_progress(self.plan, step.part, seconds, self.trained_samples))

    def _evaluate(self, chapter: int) -> None:
        epoch = self.plan.epochs(chapter)[-1]
        missing = [
            split
            for split in self.plan.evaluated(chapter)
            if (epoch, split) not in {(each.epoch, each.split) for each in self.evaluations}
        ]
        if not missing:
            return
        evaluation = ChapterEvaluation(self.resolved, self.dataset, self.device)
        evaluation.begin(chapter, missing)
        worker = self._worker(Part(chapter, 0))
        for layer in range(self.plan.layers):
            evaluation.add_layer(layer, self._read(worker, Need(Part(chapter, layer), False)))
        for each in evaluation.finish():
            self.evaluations.append(each)
            self.journal.append({'evaluation': asdict(each)})
            self.emit(evaluation_event(each, self.resolved.config.data))

    def _accuracy_on_shards(self) -> list[float]:
        """Accuracy of the final network on each worker's own data, where that is private."""
        if self.plan.schedule.name != 'federated':
            return []
        found = []
        for owner in range(self.plan.workers):
            worker = self._workers.get(owner) or self._worker(Part(owner, 0))
            for part in self.plan.final:
                worker.load(part, Need(part, True), self._read(worker, Need(part, True)))
            found.append(worker.own_accuracy())
        return found

    def _keep_final(self) -> None:
        """Leave the trained network as every run does: one checkpoint per layer."""
        for part in self.plan.final:
            tensors = self.stores[self.plan.maker(part)].load(part)
            store = CheckpointStore(self.folder.checkpoints, part.layer)
            store.save(CheckpointInfo(*self._run, part.layer, self.plan.chapters, 0), tensors)

    def result(self, setup_s: float) -> dict[str, Any]:
        """Give the run's figures."""
        layers = self._final_layers()
        figures = ChapterFigures(
            self.evaluations,
            self.trained_samples,
            self.seconds,
            self.training_seconds,
            setup_s,
            peak_rss_mb(),
            [each.weights_sha256() for each in layers],
        )
        report = WorkerReport(
            peak_rss_mb=peak_rss_mb(),
            base_rss_mb=self.base_rss_mb,
            precision=precision_here(self.plan.resolved.config.compute),
        )
        reports = [report for _ in range(self.plan.workers)]
        if self.shard_accuracy:
            reports = [replace(report, own_accuracy=each) for each in self.shard_accuracy]
        return chapter_result(self.plan, figures, reports)

    def _final_layers(self) -> list[Any]:
        worker = self._worker(self.plan.final[-1])
        for part in self.plan.final:
            worker.load(part, Need(part, True), self._read(worker, Need(part, True)))
        return [worker.layer(index) for index in range(self.plan.layers)]


def chapter_progress(
    plan: ChapterPlan, part: Part, seconds: float, trained_samples: int
) -> dict[str, Any]:
    """
    Make the progress event of a run with chapters: items are parts.

    :param trained_samples: samples times layers.
    """
    items = list(plan.parts())
    done = items.index(part)
    return {
        'event': 'progress',
        'item': done,
        'items': len(items),
        'epoch': plan.epochs(part.chapter)[0],
        'epochs': plan.resolved.config.training.epochs,
        'seconds': seconds,
        'left_s': seconds / done * (len(items) - done) if done else None,
        'samples_per_second': trained_samples / plan.layers / max(seconds, 1e-9),
        'layers': [],
    }


def run_chapters(folder: RunFolder, emit: Emit, began_s: float) -> dict[str, Any]:
    """
    Train a run with chapters in this process, and give its result.

    :param began_s: monotonic time at which the command began.
    """
    reference = ChapterReference(folder, emit)
    setup_s = time.monotonic() - began_s
    reference.run()
    result = reference.result(setup_s)
    reference.task.finish(result, emit)
    return result
