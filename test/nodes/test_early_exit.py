# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""An early exit over ROS 2 processes answers as in one process, bit for bit, also after a kill."""

from __future__ import annotations

import json
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
    'two streams, all layers': ({'stream__dtype': 'float16'}, ['mean', 'mean']),
    'two streams, without the first, nobody leaves layer 1': (
        {'classification__layers': 'without_first'},
        ['mean', None],
    ),
    'one stream, the last layer, all leave layer 1': (
        {'network': [SOFTMAX] * 3, 'classification__layers': 'last'},
        ['mean', -1e9],
    ),
}


@pytest.mark.parametrize(('values', 'wanted'), RUNS.values(), ids=RUNS)
def test_an_evaluation_answers_as_in_one_process(
    dff: Dff, values: dict[str, Any], wanted: list[str | float | None]
) -> None:
    run = a_run(dff.folder, 'early', **values)
    means = run_reference('calibrate', run, [], ignore, 0.0)['mean']
    thresholds = [
        mean if each == 'mean' else each for each, mean in zip(wanted, means, strict=True)
    ]
    chosen = settings(early_exit__thresholds=thresholds)
    expected = ours(run, chosen[1::2])
    ros = dff.run('evaluate', str(run.path), '--json', *chosen)
    assert ros.status == 0, ros.errors
    assert ros.answer['early_exit'] == expected['early_exit']
    assert ros.answer['test_accuracy'] == expected['test_accuracy']
    first, second, last = ros.answer['early_exit']['answered']
    assert 0 < first < VALIDATION
    assert first + second + last == VALIDATION
    if wanted[1] != 'mean':
        assert (second if wanted[1] is None else last) == 0


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def test_a_layer_that_is_killed_changes_no_answer(dff: Dff) -> None:
    run = a_run(dff.folder, 'killed', training__batch_size=20)
    chosen = settings(early_exit__thresholds=[1.1, 2.2])
    expected = ours(run, chosen[1::2])
    hurt = Dff(dff.folder, dff.environment | {VARIABLE: 'layer_1 AFTER_SCORES 3'})
    finished = hurt.run('evaluate', str(run.path), '--json', *chosen)
    assert finished.status == 0, finished.errors
    assert 'layer_1 was ended by SIGKILL' in finished.errors
    assert finished.answer['test_accuracy'] == expected['test_accuracy']
    assert finished.answer['early_exit'] == expected['early_exit']


def test_calibrating_over_nodes_chooses_as_in_one_process(dff: Dff) -> None:
    run = a_run(dff.folder, 'calibrated')
    ros = dff.run('calibrate', str(run.path), '--max-loss', '3', '--json')
    assert ros.status == 0, ros.errors
    written = json.loads(run.early_exit_file.read_text())
    assert ros.answer == written
    assert written['max_loss'] == 3
    assert written == run_reference('calibrate', run, ['early_exit.max_loss=3'], ignore, 0.0)
