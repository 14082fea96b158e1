# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""An early exit over ROS 2 processes answers as in one process, bit for bit, also after a kill."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from dff_command import Dff, settings

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.fault_points import VARIABLE
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run
from dff_nodes.schedules.run_reference import run_reference

pytestmark = pytest.mark.ros

SOFTMAX = {'type': 'dense', 'units': 24, 'rule': 'softmax_head'}
VALIDATION = 300


def a_run(folder: Path, name: str, **values: Any) -> RunFolder:
    """Train a run of three layers in this process; its batches do not divide the test set."""
    words = settings(
        **{
            'network': [{'units': 24}] * 3,
            'training__epochs': 4,
            'training__batch_size': 100,
            'evaluation__train_samples': 0,
            'stream__window_items': 3,
            'data__validation_samples': VALIDATION,
            **values,
        }
    )
    config = load_config(None, words[1::2])
    run = create_run(folder / 'runs', name, resolve(config, read_facts(config.data)))
    run_reference('train', run, [], lambda event: None, time.monotonic())
    return run


def ours(folder: RunFolder, overrides: list[str]) -> dict[str, Any]:
    """Evaluate in this process."""
    return run_reference('evaluate', folder, overrides, lambda event: None, time.monotonic())


RUNS = {
    'two streams, all layers, one is killed': (
        {'stream__dtype': 'float16'},
        ['mean', 'mean'],
        'layer_1 AFTER_SCORES 3',
    ),
    'two streams, without the first, nobody leaves layer 1': (
        {'classification__layers': 'without_first'},
        ['mean', None],
        '',
    ),
    'one stream, the last layer, all leave layer 1': (
        {'network': [SOFTMAX] * 3, 'classification__layers': 'last'},
        ['mean', -1e9],
        '',
    ),
}


@pytest.mark.parametrize(('values', 'wanted', 'fault'), RUNS.values(), ids=RUNS)
def test_an_evaluation_answers_as_in_one_process(
    dff: Dff, values: dict[str, Any], wanted: list[str | float | None], fault: str
) -> None:
    run = a_run(dff.folder, 'early', **values)
    means = run_reference('calibrate', run, [], ignore, 0.0)['mean']
    thresholds = [
        mean if each == 'mean' else each for each, mean in zip(wanted, means, strict=True)
    ]
    chosen = settings(early_exit__thresholds=thresholds)
    expected = ours(run, chosen[1::2])
    hurt = Dff(dff.folder, dff.environment | {VARIABLE: fault})
    ros = hurt.run('evaluate', str(run.path), '--json', *chosen)
    assert ros.status == 0, ros.errors
    assert ('layer_1 was ended by SIGKILL' in ros.errors) == bool(fault)
    assert ros.answer['early_exit'] == expected['early_exit']
    assert ros.answer['test_accuracy'] == expected['test_accuracy']
    first, second, last = ros.answer['early_exit']['answered']
    assert 0 < first < VALIDATION
    assert first + second + last == VALIDATION
    if wanted[1] != 'mean':
        assert (second if wanted[1] is None else last) == 0


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""
