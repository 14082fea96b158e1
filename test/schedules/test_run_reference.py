# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run with its files: what it leaves behind, and how it goes on after it was stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.checkpoint import CheckpointError, CheckpointStore
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run, open_run
from dff_nodes.schedules.plan import TrainingPlan
from dff_nodes.schedules.run_reference import run_reference

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
    """Make the folder of a run on few of the digits; it saves at the end of every epoch."""
    settings = {
        'data': {'validation_samples': 1237},
        'network': [{'units': 20}, {'units': 20}],
        'training': {'epochs': 3},
        'evaluation': {'train_samples': 50},
        'checkpoint': {'every_s': 0},
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
    """End the run when it tells of its evaluation of an epoch, before that epoch is saved."""

    def emit(event: dict[str, Any]) -> None:
        if event['event'] == 'evaluation' and event['epoch'] == epoch:
            raise Crash

    return emit


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
        saved = folder.progress().get('next_item', 0)
        plan = TrainingPlan(resolve(folder.config(), read_facts(folder.config().data)))
        assert saved == (0 if epoch == 0 else plan.end_of_epoch(epoch - 1) + 1)
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
        items = CheckpointStore(folder.checkpoints, layer).valid_items(folder.identity().run_id)
        assert items[-1] == result['items']
        assert len(items) == 2


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    folder = new_run(tmp_path, 'whole')
    train(folder)
    with pytest.raises(ConfigError, match='has finished'):
        train(folder)


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
    with pytest.raises(CheckpointError, match=f'run_id {other.identity().run_id}'):
        train(stopped)


def test_a_run_does_not_go_on_from_a_torn_checkpoint(tmp_path: Path) -> None:
    folder = new_run(tmp_path, 'stopped')
    with pytest.raises(Crash):
        train(folder, crash_in_epoch(1))
    item = folder.progress()['next_item']
    torn = folder.checkpoints / f'layer_1-{item:09d}.ckpt'
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f'{torn.name} is torn or changed'):
        train(folder)
