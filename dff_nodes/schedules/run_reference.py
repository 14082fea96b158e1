# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs a task in this process, without ROS, with the files that a ROS 2 run would write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dff_nodes.runs.atomic import MENDABLE
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.metrics import MetricsFile, MetricsRow, NoMetricsFile
from dff_nodes.runs.result import build_result
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.runs.signals import handling
from dff_nodes.schedules.chapter_reference import run_chapters
from dff_nodes.schedules.progress import evaluation_event
from dff_nodes.schedules.reference import Listener, ReferenceRun
from dff_nodes.schedules.stream import Evaluation
from dff_nodes.schedules.task import Emit, Task, item_to_go_on_with, make_task, train_task
from dff_nodes.stream.item import Item, Mark

PROGRESS_S = 0.5


def run_reference(
    task: str,
    folder: RunFolder,
    overrides: list[str],
    emit: Emit,
    began_s: float,
    images: str = '',
) -> dict[str, Any]:
    """
    Run a task to its end and give its last event's content: the result, or the answers.

    :param began_s: monotonic time at which the command began.
    :raises RunPaused: after SIGINT, SIGTERM or SIGHUP in training, which is saved; and when the
        run folder cannot be written any more.
    """
    if task != 'train':
        made = make_task(task, '', overrides, folder.path.parent, folder.name, images)
        return _run(made, emit, began_s)
    with _while_folder_is_writable(folder):
        if folder.config().schedule.chapters:
            return run_chapters(folder, emit, began_s)
        return _run(train_task(folder, item_to_go_on_with(folder)), emit, began_s)


@contextmanager
def _while_folder_is_writable(folder: RunFolder) -> Iterator[None]:
    """Say of a full disk how to go on: what was saved is whole, see runs/atomic.py."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename and folder.path not in Path(error.filename).parents
        if error.errno not in MENDABLE or elsewhere:
            raise
        raise RunPaused(
            f'{error.filename or folder.path} cannot be written: {error.strerror}. Make room '
            f'there, then continue with {_resume_command(folder)}'
        ) from error


def _resume_command(folder: RunFolder) -> str:
    """Give the command that goes on with a run in one process."""
    return f'dff train --reference --resume {folder.path}'


def _run(made: Task, emit: Emit, began_s: float) -> dict[str, Any]:
    session = _Session(made, emit)
    setup_s = time.monotonic() - began_s
    try:
        with session.pausing():
            session.run.run()
    finally:
        session.close()
    result = build_result(made.resolved, session.run.figures(setup_s), session.run.reports())
    last: dict[str, Any] = {}

    def keep(event: dict[str, Any]) -> None:
        last.update(event)
        emit(event)

    made.finish(result, keep)
    return last.get('result', last)


class RunPaused(RuntimeError):
    """Training was stopped; the message says why and how to go on."""


class _Session:
    """A reference run with its files and its progress events."""

    def __init__(self, task: Task, emit: Emit) -> None:
        self.task = task
        self.emit = emit
        training = task.training
        self.metrics = MetricsFile(task.folder.metrics_file) if training else NoMetricsFile()
        listener = Listener(self._on_metrics, self._on_evaluation, self._on_item)
        self.first_item = task.coordinator.first_item
        self.run = ReferenceRun(task.resolved, task.coordinator, self.first_item, listener)
        self.stores = [
            CheckpointStore(task.folder.checkpoints, layer)
            for layer in range(len(self.run.layers))
        ]
        if self.first_item > 0:
            self._load()
        self.rows: dict[int, MetricsRow] = {}
        self._told_s = self._saved_s = self._began_s = time.monotonic()
        self._stopped = False

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Let a signal end the training behind the item that it is at."""
        if not self.task.training or threading.current_thread() is not threading.main_thread():
            yield
            return
        with handling(self._stop):
            yield

    def _stop(self, number: int, frame: object) -> None:
        self._stopped = True

    def _load(self) -> None:
        for worker, store in zip(self.run.workers, self.stores, strict=True):
            info, tensors = store.load(self.first_item, self.task.run_id, self.task.config_hash)
            worker.layer.load_state(tensors)
            if self.task.training:
                worker.scored, worker.applied = info.scored, info.applied

    def close(self) -> None:
        """Close the files."""
        self.metrics.close()
        if self.task.journal:
            self.task.journal.close()

    def _on_metrics(self, row: MetricsRow) -> None:
        self.rows[row.layer] = row
        self.metrics.write(row)

    def _on_evaluation(self, evaluation: Evaluation) -> None:
        if self.task.journal:
            self.task.journal.append({'evaluation': asdict(evaluation)})
            self.emit(evaluation_event(evaluation, self.task.resolved.config.data))

    def _on_item(self, item: Item) -> None:
        if self.task.journal:
            for decision in self.task.coordinator.take_decisions():
                self.task.journal.append(decision.as_record())
            if self._save_is_due(item):
                self._save(item)
        self._tell_progress(item)
        if self._stopped and item.mark != Mark.END_OF_RUN:
            self._save(item)
            raise RunPaused(
                f'paused at item {item.number + 1} of {self.task.items}: continue with '
                f'{_resume_command(self.task.folder)}'
            )

    def _save_is_due(self, item: Item) -> bool:
        checkpoint = self.task.resolved.config.checkpoint
        by_time = time.monotonic() - self._saved_s >= checkpoint.every_s
        by_items = checkpoint.every_items and (item.number + 1) % checkpoint.every_items == 0
        return bool(by_time or by_items or item.mark == Mark.END_OF_RUN)

    def _save(self, item: Item) -> None:
        # First what was decided: a run that goes on behind it must find it.
        self.task.journal.sync()
        for index, (worker, store) in enumerate(zip(self.run.workers, self.stores, strict=True)):
            info = CheckpointInfo(
                self.task.run_id,
                self.task.config_hash,
                index,
                item.number + 1,
                0,
                worker.scored,
                worker.applied,
            )
            store.save(info, worker.layer.state())
        self._saved_s = time.monotonic()

    def _tell_progress(self, item: Item) -> None:
        now = time.monotonic()
        if now - self._told_s < PROGRESS_S:
            return
        self._told_s = now
        seconds = now - self._began_s
        done, first = item.number + 1, self.first_item
        self.emit(
            {
                'event': 'progress',
                'item': done,
                'items': self.task.items,
                'epoch': item.epoch,
                'epochs': self.task.resolved.config.training.epochs,
                'seconds': seconds,
                'left_s': seconds / (done - first) * (self.task.items - done),
                'samples_per_second': self.run.trained_samples / max(seconds, 1e-9),
                'layers': [self._layer(index) for index in range(len(self.run.layers))],
            }
        )

    def _layer(self, index: int) -> dict[str, Any]:
        row = self.rows.get(index)
        shown = ('items_per_second', 'loss', 'positive_goodness', 'negative_goodness')
        return {'name': self.run.layers[index].name, 'state': 'training'} | {
            name: getattr(row, name) if row else None for name in shown
        }
