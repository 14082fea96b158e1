# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Schedules with chapters over ROS 2 processes: each equals the same schedule in one process.

Real processes, real middleware; workers are killed in the middle of a chapter.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from dff_command import Dff, settings
from golden import assert_same, golden, reference

from dff_nodes.runs.run_folder import open_run

pytestmark = pytest.mark.ros

SOFTMAX = {'rule': 'softmax_head'}
HEAD = {'units': 24, **SOFTMAX}
PAIR = {'units': 24}
VARIANTS: dict[str, dict[str, Any]] = {
    'sequential': {'schedule': 'sequential', 'network': [PAIR, PAIR]},
    'single layer, adaptive negatives': {
        'schedule': {'name': 'single_layer', 'splits': 2, 'arrivals': 'each_chapter'},
        'network': [PAIR, PAIR, PAIR],
        'training': {
            'epochs': 4,
            'batch_size': 64,
            'negatives': {'mode': 'adaptive', 'lag_chapters': 1},
        },
    },
    'all layers, a read-out': {
        'schedule': {'name': 'all_layers', 'workers': 3, 'data': 'sent'},
        'network': [PAIR, PAIR],
        'classification': {'mode': 'one_pass'},
        'stream': {'dtype': 'float16'},
    },
    'all layers, moments stay': {
        'schedule': {'name': 'all_layers', 'moments': 'stay'},
        'data': {'shift_pixels': 1},
        'network': [HEAD, HEAD],
    },
    'all layers, maps and what is carried beside them': {
        'schedule': {'name': 'all_layers', 'workers': 2},
        'data': {'flip': True, 'standardize': True},
        'network': [
            {'type': 'conv', 'channels': 8, 'stem': 'whiten', 'dropout': 0.1, **SOFTMAX},
            {'type': 'conv', 'channels': 12, 'skip': 'begin', **SOFTMAX},
            {'type': 'conv', 'channels': 20, 'skip': 'add', 'rule': 'channel_competition'},
            {'units': 30, 'normalization': 'batch', 'rule': 'prototype'},
        ],
        'training': {'epochs': 3, 'batch_size': 64, 'optimizer': 'muon'},
        'compute': {'precision': 'bfloat16'},
    },
    'federated': {
        'schedule': {'name': 'federated', 'skew': 0.5, 'own_share': 0.3},
        'network': [HEAD, HEAD],
    },
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_equals_the_schedule_in_one_process(dff: Dff, variant: str) -> None:
    tree = {'training': {'epochs': 3, 'batch_size': 64}, **VARIANTS[variant]}
    arrived = golden(dff, settings(**tree))['wire_bytes']
    assert dff.nodes() == []
    assert arrived['coordinator'] > 0
    assert sum(arrived.values()) > arrived['coordinator'] or variant == 'sequential'


def test_what_was_trained_so_can_be_evaluated_and_classifies(dff: Dff) -> None:
    tree = {'schedule': 'all_layers', 'network': [HEAD, HEAD], 'training': {'epochs': 2}}
    trained = dff.run('train', '--json', '--name', 'ros', *settings(**tree))
    evaluated = dff.run('evaluate', 'runs/ros', '--json')
    assert evaluated.status == 0, evaluated.errors
    assert evaluated.answer['test_accuracy'] == trained.answer['test_accuracy']
    assert evaluated.answer['weights_sha256'] == trained.answer['weights_sha256']
    assert dff.run('report', 'runs/ros').status == 0
    compared = dff.run('compare', 'runs/ros', 'runs/ros', '--json')
    assert compared.status == 0, compared.errors


@pytest.mark.parametrize(
    'schedule', [pytest.param('single_layer', marks=pytest.mark.slow), 'all_layers']
)
def test_a_killed_worker_comes_back_and_the_result_is_the_same(dff: Dff, schedule: str) -> None:
    tree = {
        'schedule': schedule,
        'network': [PAIR, PAIR],
        'training': {'epochs': 40, 'batch_size': 16},
        'evaluation': {'every_epochs': 10},
        'restart': {'backoff_s': 0},
    }
    arguments = settings(**tree)
    run = dff.start('train', '--json', '--name', 'ros', *arguments)
    checkpoints = dff.folder / 'runs' / 'ros' / 'checkpoints'
    for worker, behind in ((1, 4), (0, 12)):
        await_part(checkpoints, worker, behind)
        dff.node(f'worker_{worker}').send_signal(signal.SIGKILL)
    finished = dff.finish(run)
    assert finished.status == 0, finished.errors
    assert finished.answer['restarts']['worker_0'] >= 1
    assert finished.answer['restarts']['worker_1'] >= 1
    assert_same(finished.answer, reference(dff.folder, arguments[1::2]))


def await_part(checkpoints: Path, worker: int, chapter: int, limit_s: float = 60) -> None:
    """Wait until a worker has stored a part of a chapter, or of a later one."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        for path in checkpoints.glob(f'worker_{worker}_layer_*.ckpt'):
            if int(path.stem.rpartition('-')[2]) >= chapter:
                return
        time.sleep(0.01)
    raise AssertionError(f'worker_{worker} made no part behind chapter {chapter}')


def test_a_coordinator_that_is_killed_comes_back(dff: Dff) -> None:
    tree = {
        'schedule': 'single_layer',
        'network': [PAIR, PAIR],
        'training': {'epochs': 40, 'batch_size': 16},
        'evaluation': {'every_epochs': 5},
        'restart': {'backoff_s': 0},
    }
    arguments = settings(**tree)
    run = dff.start('train', '--json', '--name', 'ros', *arguments)
    await_part(dff.folder / 'runs' / 'ros' / 'checkpoints', 1, 8)
    dff.node('coordinator').send_signal(signal.SIGKILL)
    finished = dff.finish(run)
    assert finished.status == 0, finished.errors
    assert finished.answer['restarts']['coordinator'] == 1
    assert_same(finished.answer, reference(dff.folder, arguments[1::2]))


@pytest.mark.slow
def test_a_worker_without_its_parts_is_told_so(dff: Dff) -> None:
    tree = {
        'schedule': 'all_layers',
        'network': [PAIR, PAIR],
        'training': {'epochs': 60, 'batch_size': 16},
        'evaluation': {'every_epochs': 0},
    }
    run = dff.start('train', '--json', '--name', 'ros', *settings(**tree))
    checkpoints = dff.folder / 'runs' / 'ros' / 'checkpoints'
    await_part(checkpoints, 1, 8)
    run.send_signal(signal.SIGINT)
    assert dff.finish(run).status == 1
    for path in checkpoints.glob('worker_1_*'):
        path.unlink()
    resumed = dff.run('train', '--json', '--resume', 'runs/ros')
    assert resumed.status == 1
    assert 'a run folder was lost or damaged' in resumed.errors
    assert dff.nodes() == []


@pytest.mark.slow
def test_a_paused_run_goes_on_where_it_was(dff: Dff) -> None:
    tree = {
        'schedule': 'all_layers',
        'network': [PAIR, PAIR],
        'training': {'epochs': 40, 'batch_size': 16},
        'evaluation': {'every_epochs': 0},
    }
    arguments = settings(**tree)
    run = dff.start('train', '--json', '--name', 'ros', *arguments)
    checkpoints = dff.folder / 'runs' / 'ros' / 'checkpoints'
    await_part(checkpoints, 1, 4)
    run.send_signal(signal.SIGINT)
    paused = dff.finish(run)
    assert paused.status == 1
    newest = max(checkpoints.glob('worker_0_*.ckpt'), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert '--resume' in paused.errors
    assert not open_run(dff.folder / 'runs' / 'ros').result_file.exists()
    resumed = dff.run('train', '--json', '--resume', 'runs/ros')
    assert resumed.status == 0, resumed.errors
    assert_same(resumed.answer, reference(dff.folder, arguments[1::2]))
