# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a coordinator of a schedule with chapters does, and where its figures go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dff_nodes.data.dataset import Dataset, load_dataset
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.journal import Journal
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.chapters import ChapterPlan
from dff_nodes.schedules.stream import Evaluation
from dff_nodes.schedules.task import Emit, journal_of, train_folder


@dataclass(frozen=True)
class ChapterTask:
    """A training run with chapters."""

    folder: RunFolder
    resolved: ResolvedRun
    dataset: Dataset
    plan: ChapterPlan
    journal: Journal
    """of the evaluations that were made"""
    training = True
    first_item = 0

    @property
    def items(self) -> int:
        """Chapters."""
        return self.plan.chapters

    @property
    def parts(self) -> int:
        """Layers times chapters, and adaptive negatives."""
        return sum(self.plan.count_of(worker) for worker in range(self.plan.workers))

    @property
    def run_id(self) -> str:
        """32 hexadecimal digits."""
        return self.folder.identity().run_id

    @property
    def config_hash(self) -> str:
        """Digest of the settings that the weights are trained with."""
        return self.folder.identity().config_hash

    def finish(self, result: dict[str, Any], emit: Emit) -> None:
        """Take the result at the end."""
        self.folder.write_result(result)
        emit({'event': 'result', 'result': result, 'folder': str(self.folder.path)})


def chapter_task(config: str, overrides: list[str], runs: Path, run: str) -> ChapterTask:
    """
    Open a run folder, or make that of a new run; see schedules/task.py.

    :raises ConfigError: naming what is wrong.
    """
    return task_of(train_folder(config, overrides, runs, run))


def task_of(folder: RunFolder) -> ChapterTask:
    """Make the task of a run folder; raises ConfigError if it is of another schedule."""
    config = folder.config()
    if not config.schedule.chapters:
        raise ConfigError(
            f'run {folder.path} has the schedule {config.schedule.name!r}: start coordinator_node '
            'instead of chapter_coordinator_node'
        )
    if config.early_exit.thresholds is not None:
        raise ConfigError(
            'early_exit.thresholds must be null for training: a layer that answers by itself is '
            'for dff evaluate and dff classify'
        )
    dataset = load_dataset(config.data, config.seed)
    resolved = resolve(config, dataset.facts)
    plan = ChapterPlan(resolved)
    with journal_of(folder, dataset) as journal:
        return ChapterTask(folder, resolved, dataset, plan, journal)


def read_evaluations(records: list[dict[str, Any]]) -> list[Evaluation]:
    """Give the evaluations among a journal's records."""
    return [Evaluation(**record['evaluation']) for record in records if 'evaluation' in record]
