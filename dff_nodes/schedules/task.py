# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run does, over ROS 2 or in one process: train, evaluate, calibrate or classify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dff_nodes.data.dataset import Dataset, GraphDataset, data_sha256, load_dataset
from dff_nodes.data.facts import read_facts
from dff_nodes.runs.checkpoint import CheckpointStore
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.journal import Journal, JournalError, read_journal
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.result_file import read_result
from dff_nodes.runs.run_folder import RunFolder, create_run, default_name, open_run
from dff_nodes.schedules.calibrate import calibration, calibration_data, check_calibration
from dff_nodes.schedules.decisions import decisions
from dff_nodes.schedules.exit_figures import exit_figures
from dff_nodes.schedules.plan import EvaluationPlan, TrainingPlan
from dff_nodes.schedules.stream import StreamCoordinator

Emit = Callable[[dict[str, Any]], None]


@dataclass
class Task:
    """One thing to do with the layers of a run, and where its figures go."""

    folder: RunFolder
    resolved: ResolvedRun
    coordinator: StreamCoordinator
    training: bool
    """false: the layers load the state before the first item, and nothing is saved"""
    finish: Callable[[dict[str, Any], Emit], None]
    """takes the result at the end"""
    journal: Journal | None = None
    """of a training run: what its coordinator decided"""

    @property
    def items(self) -> int:
        """Number of the last item, plus one."""
        return self.coordinator.plan.items

    @property
    def first_item(self) -> int:
        """Number of the first item of the whole run."""
        return self.coordinator.plan.first_item

    @property
    def run_id(self) -> str:
        """32 hexadecimal digits."""
        return self.folder.identity().run_id

    @property
    def config_hash(self) -> str:
        """Digest of the settings that the weights were or will be trained with."""
        return self.folder.identity().config_hash


def make_task(
    task: str, config: str, overrides: list[str], runs: Path, run: str, images: str
) -> Task:
    """
    Make the task that a command or a node's parameters describe.

    :param task: train, evaluate, calibrate or classify.
    :param config: configuration file of a new run.
    :param overrides: key=value settings.
    :param run: name of the run below `runs`; for a new run it may be empty.
    :param images: .npz with the images of classify, as `x`.
    :raises ConfigError: naming what is wrong.
    """
    if task == 'train':
        folder = train_folder(config, overrides, runs, run)
        if (schedule := folder.config().schedule).chapters:
            raise ConfigError(
                f'run {folder.path} has the schedule {schedule.name!r}: start '
                'chapter_coordinator_node instead of coordinator_node'
            )
        return train_task(folder)
    if task == 'evaluate':
        return evaluate_task(open_run(runs / run), overrides)
    if task == 'calibrate':
        return calibrate_task(open_run(runs / run), overrides)
    if task == 'classify':
        return classify_task(open_run(runs / run), overrides, Path(images))
    raise ConfigError(
        f"parameter task must be 'train', 'evaluate', 'calibrate' or 'classify', got {task!r}"
    )


def train_folder(config: str, overrides: list[str], runs: Path, run: str) -> RunFolder:
    """Open the folder of an unfinished run, or make that of a new one."""
    name = run or default_name(config or None)
    if (runs / name).is_dir():
        folder = open_run(runs / name)
        folder.check_not_over()
        if config or overrides:
            changed = load_config(config or folder.config_file, overrides)
            folder.change_config(changed, config or '--set')
        return folder
    loaded = load_config(config or None, overrides)
    return create_run(runs, name, resolve(loaded, read_facts(loaded.data)))


def train_task(folder: RunFolder, first_item: int | None = None) -> Task:
    """
    Train from the beginning, or go on with a run.

    :param first_item: item to go on with; what was decided from there on is decided again. None
        keeps all decisions, for layers that say themselves which items they need.
    :raises ConfigError: if the journal is there but not of this run.
    """
    config = folder.config()
    if config.early_exit.thresholds is not None:
        raise ConfigError(
            'early_exit.thresholds must be null for training, which evaluates every layer on '
            'every sample: dff calibrate chooses them afterwards'
        )
    dataset = load_dataset(config.data, config.seed)
    resolved = resolve(config, dataset.facts)
    plan = TrainingPlan(resolved)
    with journal_of(folder, dataset) as journal:
        if first_item is not None:
            journal.cut(_records_before(journal.read(), first_item))
        decided = decisions(journal.read())
        coordinator = StreamCoordinator(resolved, dataset, plan, first_item, decided)

    def finish(result: dict[str, Any], emit: Emit) -> None:
        folder.write_result(result)
        emit({'event': 'result', 'result': result, 'folder': str(folder.path)})

    return Task(folder, resolved, coordinator, True, finish, journal)


@contextmanager
def journal_of(folder: RunFolder, dataset: Dataset | GraphDataset) -> Iterator[Journal]:
    """
    Open a run's journal; what is wrong with it, or with what is done with it, is a ConfigError.

    :raises ConfigError: if it is of another run or of other data, does not fit, or cannot be
        written.
    """
    try:
        journal = Journal(folder.journal_file, folder.identity().run_id)
        _check_data(folder, journal, dataset)
        yield journal
    except (JournalError, ValueError) as error:
        raise ConfigError(f'{folder.path} cannot be continued: {error}') from error
    except OSError as error:
        raise ConfigError(
            f'{folder.journal_file} cannot be written: {error.strerror}; make room there, or '
            'give this user the right to'
        ) from error


def _check_data(folder: RunFolder, journal: Journal, dataset: Dataset | GraphDataset) -> None:
    """Raise ValueError for other data: neither the first samples' result nor the others'."""
    digest = data_sha256(dataset)
    began = [record['data_sha256'] for record in journal.read() if 'data_sha256' in record]
    if not began:
        journal.append({'data_sha256': digest})
    elif began[0] != digest:
        raise ValueError(
            f'{folder.config().data.dataset} holds other samples now than when it was begun. Put '
            'them back, or begin a new run'
        )


def _records_before(records: list[dict[str, Any]], item: int) -> int:
    """Count the records before the first that was decided of an item, or of one behind it."""
    for count, record in enumerate(records):
        if record.get('item', -1) >= item:
            return count
    return len(records)


def trained_item(folder: RunFolder) -> int:
    """Item before which the newest weights of a run stand; raises ConfigError without any."""
    if folder.result_file.exists():
        return int(read_result(folder, ['items'])['items'])
    item = newest_common_item(folder)
    if item == 0:
        raise ConfigError(
            f'run {folder.path} has no weights of all layers here yet: continue it with '
            f'dff train --resume {folder.path}'
        )
    return item


def newest_common_item(folder: RunFolder, settled: int | None = None) -> int:
    """
    Give the newest item that all layers have a valid checkpoint of here, 0 without one.

    :param settled: without checkpoints behind more scored items than that; default all.
    """
    identity = folder.identity()
    common: set[int] | None = None
    for layer in range(len(folder.config().network)):
        store = CheckpointStore(folder.checkpoints, layer)
        valid, _ = store.valid(identity.run_id, identity.config_hash)
        items = {info.next_item for info in valid if settled is None or info.scored <= settled}
        common = items if common is None else common & items
    return max(common or {0})


def item_to_go_on_with(folder: RunFolder) -> int:
    """Give the newest item that all layers stand before here and the decisions reach."""
    return newest_common_item(folder, len(decisions(read_journal(folder.journal_file))))


def evaluate_task(folder: RunFolder, overrides: list[str]) -> Task:
    """Measure the accuracy of a run's weights on the test set."""
    config = _same_network(folder, overrides)
    return _evaluation(folder, config, load_dataset(config.data, config.seed), _finish_evaluation)


def _finish_evaluation(task: Task, result: dict[str, Any], emit: Emit) -> None:
    if task.resolved.has_early_exit:
        result = result | {'early_exit': exit_figures(task.resolved, task.coordinator)}
    emit({'event': 'evaluated', 'result': result})


def calibrate_task(folder: RunFolder, overrides: list[str]) -> Task:
    """Choose the thresholds of an early exit, on samples that a run has set aside."""
    check_calibration(folder)
    overrides = [*overrides, 'early_exit.thresholds=null']
    config = _same_network(folder, overrides)
    dataset = load_dataset(folder.config().data, config.seed)
    return _evaluation(folder, config, calibration_data(dataset), _finish_calibration)


def _finish_calibration(task: Task, result: dict[str, Any], emit: Emit) -> None:
    validation_samples = task.folder.config().data.validation_samples
    found = {
        'run': task.folder.name,
        'config_hash': task.config_hash,
        'weights_sha256': result['weights_sha256'],
        'classification': task.resolved.config.classification.model_dump(mode='json'),
        **calibration(task.resolved, task.coordinator, validation_samples),
    }
    task.folder.write_early_exit(found)
    emit({'event': 'calibrated', 'result': found})


def classify_task(folder: RunFolder, overrides: list[str], images: Path) -> Task:
    """Find the classes of images that have none."""
    config = _same_network(folder, overrides)
    facts = read_facts(config.data)
    if facts.nodes:
        raise ConfigError(
            f'run {folder.path} learned a graph, and images are no nodes of it: dff evaluate '
            'tells how many of its test nodes are right'
        )
    with np.load(images, allow_pickle=False) as file:
        pixels = torch.from_numpy(file['x'])
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    facts = replace(facts, test_samples=len(pixels))
    dataset = Dataset(facts, pixels[:0], labels[:0], pixels, labels)
    return _evaluation(folder, config, dataset, _finish_classification)


def _finish_classification(task: Task, result: dict[str, Any], emit: Emit) -> None:
    """Tell the answers: of all layers together first, then of each; or who gave them."""
    coordinator = task.coordinator
    scores = [torch.cat(parts) for parts in zip(*coordinator.answers, strict=True)]
    emit(
        {
            'event': 'answers',
            'classes': scores[0].argmax(1).tolist(),
            'scores': scores[0].tolist(),
            'layer_classes': [each.argmax(1).tolist() for each in scores[1:]],
            'answered_by': [int(layer) for part in coordinator.answered_by for layer in part],
        }
    )


def _evaluation(
    folder: RunFolder,
    config: Config,
    dataset: Dataset | GraphDataset,
    finish: Callable[[Task, dict[str, Any], Emit], None],
) -> Task:
    resolved = ResolvedRun(config, dataset.facts)
    samples = dataset.facts.test_samples
    plan = EvaluationPlan(samples, resolved.evaluation_batch, trained_item(folder))
    coordinator = StreamCoordinator(resolved, dataset, plan)
    task = Task(
        folder,
        resolved,
        coordinator,
        training=False,
        finish=lambda result, emit: finish(task, result, emit),
    )
    return task


def _same_network(folder: RunFolder, overrides: list[str]) -> Config:
    """Give a run's configuration with overrides that leave its weights usable."""
    trained = folder.config()
    config = load_config(folder.config_file, overrides)
    if config.network != trained.network:
        raise ConfigError('the network of trained weights cannot be changed with --set')
    if config.has_readout and not trained.has_readout:
        raise ConfigError(
            f"run {folder.path} trained no read-out, so classification.mode must be 'goodness'; "
            'train with classification.mode=one_pass or training.negatives.mode=adaptive'
        )
    if trained.has_readout and not config.has_readout:
        raise ConfigError('training.negatives of trained weights cannot be changed with --set')
    return config
