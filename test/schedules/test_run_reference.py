# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run with its files: what it leaves behind, and how it goes on after it was stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.checkpoint import CheckpointStore
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run, open_run
from dff_nodes.schedules.chapter_task import task_of as chapter_task_of
from dff_nodes.schedules.plan import TrainingPlan
from dff_nodes.schedules.run_reference import RunPaused, run_reference
from dff_nodes.schedules.task import (
    item_to_go_on_with,
    newest_common_item,
    train_folder,
    train_task,
)

SAVED_EVERY = 7
PEERS = {'name': 'threshold', 'peer_normalization': 0.03}
VARIANTS: dict[str, dict[str, Any]] = {
    'random negatives': {},
    'adaptive negatives and one pass': {
        'training': {'epochs': 3, 'negatives': {'mode': 'adaptive', 'lag_batches': 5}},
        'classification': {'mode': 'one_pass'},
        'stream': {'dtype': 'float16'},
    },
    'sgd and peers': {
        'network': [{'units': 20, 'rule': PEERS}, {'units': 20, 'rule': PEERS}],
        'training': {'epochs': 3, 'optimizer': {'name': 'sgd', 'learning_rate': 0.01}},
        'data': {'shift_pixels': 1},
    },
}


class Crash(Exception):
    """The process ends here."""


def new_run(runs: Path, name: str, variant: dict[str, Any] | None = None) -> RunFolder:
    """Make the folder of a run on few of the digits; it saves behind every 7th item."""
    settings = {
        'data': {'validation_samples': 1237},
        'network': [{'units': 20}, {'units': 20}],
        'training': {'epochs': 3},
        'evaluation': {'train_samples': 50},
        'checkpoint': {'every_items': SAVED_EVERY},
        'compute': {'device': 'cpu'},
    } | (variant or {})
    settings['data'] = {'validation_samples': 1237} | settings['data']
    config = Config.model_validate(settings)
    return create_run(runs, name, resolve(config, read_facts(config.data)))


def train(folder: RunFolder, emit: Callable[[dict[str, Any]], None] | None = None) -> dict:
    return run_reference('train', folder, [], emit or ignore, time.monotonic())


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def crash_in_epoch(epoch: int) -> Callable[[dict[str, Any]], None]:
    """End the run when it tells of its evaluation of an epoch, between two checkpoints."""

    def emit(event: dict[str, Any]) -> None:
        if event['event'] == 'evaluation' and event['epoch'] == epoch:
            raise Crash

    return emit


def items_of(folder: RunFolder, layer: int) -> list[int]:
    """Give the items of a layer's valid checkpoints."""
    identity = folder.identity()
    store = CheckpointStore(folder.checkpoints, layer)
    return [info.next_item for info in store.valid(identity.run_id, identity.config_hash)[0]]


def told(result: dict[str, Any]) -> dict[str, Any]:
    """Give what of a result must not depend on how often a run was stopped."""
    names = ('weights_sha256', 'test_accuracy', 'train_accuracy', 'layer_accuracy', 'items')
    return {name: result[name] for name in names}


@pytest.mark.parametrize('variant', VARIANTS.values(), ids=VARIANTS)
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path, variant: dict) -> None:
    whole = train(new_run(tmp_path, 'whole', variant))
    for epoch in (0, 1, 2):
        folder = new_run(tmp_path, f'stopped_{epoch}', variant)
        with pytest.raises(Crash):
            train(folder, crash_in_epoch(epoch))
        plan = TrainingPlan(resolve(folder.config(), read_facts(folder.config().data)))
        saved = newest_common_item(folder)
        assert saved % SAVED_EVERY == 0
        behind = plan.chunks('train') if epoch == 2 else 0
        assert 0 <= plan.end_of_epoch(epoch) - behind - saved <= SAVED_EVERY
        assert not folder.result_file.exists()
        assert told(train(open_run(folder.path))) == told(whole)


def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    whole = train(new_run(tmp_path, 'whole'))
    folder = new_run(tmp_path, 'stopped')
    for epoch in (1, 2, 2):
        with pytest.raises(Crash):
            train(folder, crash_in_epoch(epoch))
    assert told(train(folder)) == told(whole)


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    folder = new_run(tmp_path, 'whole')
    events: list[dict[str, Any]] = []
    result = train(folder, events.append)
    assert folder.result() == result
    assert events[-1] == {'event': 'result', 'result': result, 'folder': str(folder.path)}
    evaluations = [event for event in events if event['event'] == 'evaluation']
    assert [(event['epoch'], event['split']) for event in evaluations] == [
        (0, 'test'),
        (1, 'test'),
        (2, 'test'),
        (2, 'train'),
    ]
    assert result['test_accuracy'] == evaluations[-2]['accuracy']
    assert result['train_accuracy'] == evaluations[-1]['accuracy']
    assert set(result['weights_sha256']) == {'layer_0', 'layer_1'}
    layers = {line.split(',')[1] for line in folder.metrics_file.read_text().splitlines()[1:]}
    assert layers == {'0', '1'}
    for layer in (0, 1):
        assert items_of(folder, layer)[-1] == result['items']
        assert len(items_of(folder, layer)) == 2


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    folder = new_run(tmp_path, 'whole')
    train(folder)
    with pytest.raises(ConfigError, match='has finished'):
        train_folder('', [], tmp_path, 'whole')


def test_evaluating_tells_what_training_told_and_changes_nothing(tmp_path: Path) -> None:
    folder = new_run(tmp_path, 'whole')
    result = train(folder)
    files = {path: path.read_bytes() for path in folder.path.rglob('*') if path.is_file()}
    evaluated = run_reference('evaluate', folder, [], ignore, time.monotonic())
    assert evaluated['test_accuracy'] == result['test_accuracy']
    assert evaluated['layer_accuracy'] == result['layer_accuracy']
    assert evaluated['weights_sha256'] == result['weights_sha256']
    assert {path: path.read_bytes() for path in folder.path.rglob('*') if path.is_file()} == files


def test_a_run_does_not_go_on_from_the_checkpoints_of_another(tmp_path: Path) -> None:
    stopped, other = new_run(tmp_path, 'stopped'), new_run(tmp_path, 'other')
    for folder in (stopped, other):
        with pytest.raises(Crash):
            train(folder, crash_in_epoch(1))
    shutil.copytree(other.checkpoints, stopped.checkpoints, dirs_exist_ok=True)
    assert newest_common_item(stopped) == 0, 'they took the place of its own'
    assert told(train(stopped)) == told(train(new_run(tmp_path, 'whole')))


def test_a_run_does_not_go_on_with_the_journal_of_another(tmp_path: Path) -> None:
    stopped, other = new_run(tmp_path, 'stopped'), new_run(tmp_path, 'other')
    for folder in (stopped, other):
        with pytest.raises(Crash):
            train(folder, crash_in_epoch(1))
    shutil.copy(other.journal_file, stopped.journal_file)
    with pytest.raises(ConfigError, match='cannot be continued.*journal of another run'):
        train(stopped)


@pytest.mark.parametrize('changed', ['x_train', 'y_train', 'x_test', 'y_test'])
@pytest.mark.parametrize('schedule', ['stream', 'all_layers'])
def test_a_run_does_not_go_on_with_other_data(tmp_path: Path, schedule: str, changed: str) -> None:
    numbers = np.random.default_rng(0)
    arrays = {
        'x_train': numbers.integers(0, 255, (60, 4, 4), np.uint8),
        'y_train': np.arange(60) % 3,
        'x_test': numbers.integers(0, 255, (30, 4, 4), np.uint8),
        'y_test': np.arange(30) % 3,
    }
    file = tmp_path / 'own.npz'
    np.savez(file, **arrays)
    data = {'dataset': str(file), 'validation_samples': 0}
    settings = {'data': data, 'schedule': {'name': schedule}, 'training': {'batch_size': 20}}
    folder = new_run(tmp_path, 'own', settings)
    task_of = train_task if schedule == 'stream' else chapter_task_of
    task_of(folder)
    task_of(folder)
    np.savez(file, **arrays | {changed: arrays[changed][::-1]})
    with pytest.raises(ConfigError, match=r'own\.npz holds other samples now') as caught:
        task_of(folder)
    assert str(caught.value).count('cannot be continued') == 1


@pytest.mark.parametrize('schedule', ['stream', 'all_layers'])
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(
    tmp_path: Path,
    schedule: str,
    mount_disk: Callable[[str], Path],
    fill_disk: Callable[[Path], Path],
) -> None:
    variant = {'schedule': {'name': schedule}}
    disk = mount_disk('4m')
    folder = new_run(disk, 'stopped', variant)
    fillers = []

    def emit(event: dict[str, Any]) -> None:
        if event['event'] == 'evaluation' and not fillers:
            fillers.append(fill_disk(disk))

    with pytest.raises(RunPaused) as caught:
        train(folder, emit)
    message = str(caught.value)
    assert 'cannot be written: No space left on device' in message
    assert message.endswith(f'dff train --reference --resume {folder.path}')
    fillers[0].unlink()
    assert told(train(folder)) == told(train(new_run(tmp_path, 'whole', variant)))


@pytest.mark.parametrize('layer', [0, 1])
def test_a_torn_checkpoint_of_one_layer_takes_all_to_the_one_before(
    tmp_path: Path, layer: int
) -> None:
    folder = new_run(tmp_path, 'stopped')
    with pytest.raises(Crash):
        train(folder, crash_in_epoch(1))
    older, newer = items_of(folder, layer)
    torn = folder.checkpoints / f'layer_{layer}-{newer:09d}.ckpt'
    torn.write_bytes(torn.read_bytes()[:-1])
    assert newest_common_item(folder) == older
    assert told(train(folder)) == told(train(new_run(tmp_path, 'whole')))


@pytest.mark.parametrize('left', [0.0, 0.3, 0.9, 0.999])
def test_a_journal_that_is_cut_off_takes_the_run_back_to_what_it_tells(
    tmp_path: Path, left: float
) -> None:
    """Checkpoints behind scores that nobody remembers are of no use: none would come again."""
    variant = VARIANTS['adaptive negatives and one pass']
    folder = new_run(tmp_path, 'stopped', variant)
    with pytest.raises(Crash):
        train(folder, crash_in_epoch(1))
    journal = folder.journal_file.read_bytes()
    folder.journal_file.write_bytes(journal[: int(left * len(journal))])
    assert item_to_go_on_with(folder) <= newest_common_item(folder)
    assert (item_to_go_on_with(folder) > 0) == (left > 0.3)
    assert told(train(folder)) == told(train(new_run(tmp_path, 'whole', variant)))
