# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The run that every distributed run must equal: the same in every process, and it learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import dff_nodes
from dff_nodes.data.dataset import load_dataset
from dff_nodes.runs.config import Config
from dff_nodes.runs.metrics import MetricsRow
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.schedules.plan import TrainingPlan
from dff_nodes.schedules.reference import Listener, ReferenceRun
from dff_nodes.schedules.stream import StreamCoordinator
from dff_nodes.stream.item import Item, Kind, Mark

ROOT = Path(dff_nodes.__file__).parents[1]
DIGITS = {
    'seed': 3,
    'data': {'shift_pixels': 1},
    'network': [{'units': 60}, {'units': 50, 'rule': 'threshold'}],
    'training': {'epochs': 2, 'negatives': {'mode': 'adaptive'}},
    'stream': {'dtype': 'float16'},
    'compute': {'device': 'cpu'},
}


def trained(settings: dict[str, Any], listener: Listener | None = None) -> ReferenceRun:
    config = Config.model_validate(settings)
    dataset = load_dataset(config.data, config.seed)
    run = resolve(config, dataset.facts)
    coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
    session = ReferenceRun(run, coordinator, listener=listener)
    session.run()
    return session


def outcome(session: ReferenceRun) -> dict[str, Any]:
    """Give weights and accuracies as JSON can hold them."""
    return {
        'weights': [layer.weights_sha256() for layer in session.layers],
        'evaluations': [asdict(each) for each in session.coordinator.evaluations],
    }


IN_A_PROCESS = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('test_reference', sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import torch
torch.manual_seed(99)
print(json.dumps(module.outcome(module.trained(module.DIGITS))))
"""


def test_a_run_is_the_same_in_another_process() -> None:
    """With another global seed, another hash seed and another number of threads outside."""
    here = outcome(trained(DIGITS))
    surroundings = {'PYTHONPATH': str(ROOT), 'PYTHONHASHSEED': '5', 'OMP_NUM_THREADS': '2'}
    child = subprocess.run(
        [sys.executable, '-c', IN_A_PROCESS, __file__],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == here
    assert outcome(trained(DIGITS | {'seed': 4}))['weights'] != here['weights']


def test_digits_are_learned() -> None:
    session = trained(
        {
            'network': [{'units': 100}, {'units': 100}],
            'training': {'epochs': 6},
            'compute': {'device': 'cpu'},
        }
    )
    last = session.coordinator.evaluations[-2:]
    assert [each.split for each in last] == ['test', 'train']
    assert last[0].samples == 360
    assert last[0].accuracy > 0.9
    assert min(last[0].layer_accuracy) > 0.8


def made_up(made_run: Callable[..., ResolvedRun], **settings: Any) -> ResolvedRun:
    return made_run(
        network=[{'units': 6}, {'units': 5}],
        compute={'device': 'cpu'},
        **{'training': {'epochs': 2, 'batch_size': 6}} | settings,
    )


def test_listeners_are_told_of_everything_in_order(
    made_run: Callable[..., ResolvedRun], made_data: Callable[..., Any]
) -> None:
    run = made_up(made_run)
    told: list[tuple[str, int]] = []
    rows: list[MetricsRow] = []

    def note(item: Item) -> None:
        told.append((item.kind.name, item.number))
        if item.mark is not Mark.NONE:
            told.append((item.mark.name, item.number))

    listener = Listener(
        on_metrics=rows.append,
        on_evaluation=lambda each: told.append((each.split, each.epoch)),
        on_item=note,
    )
    plan = TrainingPlan(run)
    coordinator = StreamCoordinator(run, made_data(run.facts), plan)
    session = ReferenceRun(run, coordinator, listener=listener)
    session.run()
    numbers = [number for what, number in told if what in Kind.__members__]
    assert numbers == list(range(plan.items))
    assert [each for each in told if each[0] in Mark.__members__] == [
        ('END_OF_EPOCH', plan.end_of_epoch(0)),
        ('END_OF_RUN', plan.end_of_epoch(1)),
    ]
    assert [each for each in told if each[0] in ('test', 'train')] == [
        ('test', 0),
        ('test', 1),
        ('train', 1),
    ]
    assert told.index(('test', 0)) < told.index(('END_OF_EPOCH', plan.end_of_epoch(0)))
    assert {row.layer for row in rows} == {0, 1}
    assert {row.epoch for row in rows} >= {0, 1}
    assert session.trained_samples == 2 * run.facts.train_samples
    figures = session.figures(setup_seconds=1.5)
    assert figures.items == plan.items
    assert figures.evaluations == coordinator.evaluations
    assert figures.setup_seconds == 1.5
    reports = session.reports()
    assert [each.weights_sha256 for each in reports] == outcome(session)['weights']
    assert [each.parameter_bytes for each in reports] == [4 * (12 * 6 + 6), 4 * (6 * 5 + 5)]


@pytest.mark.parametrize(
    'settings',
    [
        {'metrics': {'every_s': 0.1}},
        {'stream': {'window_items': 1}},
        {'checkpoint': {'every_s': 0.1, 'every_items': 3}},
        {'stream': {'replay_mb': 1}},
    ],
    ids=str,
)
def test_settings_without_effect_have_none(
    made_run: Callable[..., ResolvedRun], made_data: Callable[..., Any], settings: dict
) -> None:
    outcomes, hashes = [], set()
    for run in (made_up(made_run), made_up(made_run, **settings)):
        coordinator = StreamCoordinator(run, made_data(run.facts), TrainingPlan(run))
        session = ReferenceRun(run, coordinator)
        session.run()
        outcomes.append(outcome(session))
        hashes.add(run.hash)
    assert outcomes[0] == outcomes[1]
    assert len(hashes) == 1


@pytest.mark.parametrize(
    'settings',
    [
        {'seed': 1},
        {'data': {'shift_pixels': 1}},
        {'data': {'label': {'amplitude': 2.0}}},
        {'training': {'epochs': 2, 'batch_size': 5}},
        {'training': {'epochs': 2, 'batch_size': 6, 'optimizer': {'learning_rate': 0.004}}},
        {'training': {'epochs': 2, 'batch_size': 6, 'negatives': {'mode': 'fixed'}}},
        {'training': {'epochs': 2, 'batch_size': 6, 'learning_rate': {'final': 0.5}}},
    ],
    ids=str,
)
def test_settings_with_effect_have_one_and_another_hash(
    made_run: Callable[..., ResolvedRun], made_data: Callable[..., Any], settings: dict
) -> None:
    weights, hashes = [], set()
    for run in (made_up(made_run), made_up(made_run, **settings)):
        coordinator = StreamCoordinator(run, made_data(run.facts), TrainingPlan(run))
        session = ReferenceRun(run, coordinator)
        session.run()
        weights.append(outcome(session)['weights'][0])
        hashes.add(run.hash)
    assert weights[0] != weights[1]
    assert len(hashes) == 2
