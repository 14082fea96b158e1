# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""dff calibrate, and dff evaluate --early-exit, in one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.cli.__main__ import main

SEVEN = str(Path(__file__).parents[2] / 'doc' / 'seven.png')
FEW = ['--set', 'training.epochs=4', '--set', 'network=[{units: 30}, {units: 30}]']


def answer(capsys: pytest.CaptureFixture) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture) -> Path:
    words = ['train', '--reference', '--runs', str(tmp_path), '--name', 'r', *FEW]
    assert main([*words, '--set', 'data.validation_samples=300']) == 0
    capsys.readouterr()
    return tmp_path / 'r'


def test_both_networks_side_by_side_on_the_test_set(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['calibrate', str(run), '--reference', '--json', '--max-loss', '2']) == 0
    found = answer(capsys)
    assert found['max_loss'] == 2
    assert found['confidence'] in ('score', 'margin')
    assert main(['evaluate', str(run), '--early-exit', '--reference', '--json']) == 0
    told = capsys.readouterr()
    figures = json.loads(told.out.splitlines()[-1])
    assert figures['split'] == 'test'
    assert figures['samples'] == 360, 'not the 300 of the choice'
    lost = figures['whole']['accuracy'] - figures['early']['accuracy']
    assert figures['points_lost'] == pytest.approx(100 * lost)
    assert sum(figures['answered']) == pytest.approx(1)
    assert 1 <= figures['mean_layers'] <= 2
    assert figures['bytes_saved'] is None, 'nothing is sent in one process'
    assert 'Test set of digits, 360 samples' in told.err
    assert 'validation' not in told.err
    assert main(['evaluate', str(run), '--reference', '--json']) == 0
    assert answer(capsys)['samples'] == 300


def test_an_image_is_answered_by_the_first_layer_that_is_sure(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['calibrate', str(run), '--reference', '--max-loss', '100']) == 0
    capsys.readouterr()
    words = ['classify', str(run), SEVEN, '--reference', '--json']
    assert main([*words, '--early-exit']) == 0
    (early,) = answer(capsys)['answers']
    assert early['layer'] == 0
    assert early['layer_classes'] == []
    assert main(words) == 0
    (whole,) = answer(capsys)['answers']
    assert 'layer' not in whole
    assert whole['layer_classes'][0] == early['class']


@pytest.mark.parametrize(
    'verb', [['report'], ['evaluate', '--early-exit', '--reference'], ['classify']]
)
def test_a_calibration_that_was_changed_is_named_by_every_verb(
    run: Path, verb: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(['calibrate', str(run), '--reference']) == 0
    file = run / 'early_exit.json'
    whole = json.loads(file.read_text())
    changes = {
        'thresholds must have 1 entries for 2 layers, got 2': {'thresholds': [1.0, 1.0]},
        'answered must have 2 entries for 2 layers, got 0': {'answered': []},
        "confidence must be 'score' or 'margin', got 'sure'": {'confidence': 'sure'},
        "k[0] must be a number, got 'much'": {'k': ['much']},
        'curve.score[0].macs_saved is missing': {'curve': {'score': [{'accuracy': 1.0}]}},
    }
    name, *options = verb
    words = [name, str(run), *options]
    if name == 'classify':
        words += [SEVEN, '--early-exit', '--reference']
    for message, change in changes.items():
        file.write_text(json.dumps(whole | change))
        capsys.readouterr()
        assert main(words) == 2
        assert f'{file}: {message}' in capsys.readouterr().err
    for name in ('thresholds', 'macs_saved', 'classification'):
        file.write_text(json.dumps({key: whole[key] for key in whole if key != name}))
        assert main(words) == 2
        assert f'{file}: {name} is missing' in capsys.readouterr().err


def test_a_graph_has_no_early_exit(
    tmp_path: Path, capsys: pytest.CaptureFixture, save_graph: Callable[..., Path]
) -> None:
    words = ['train', '--reference', '--runs', str(tmp_path), '--name', 'g']
    for setting in (f'data.dataset={save_graph()}', 'network=graph', 'training.epochs=2'):
        words += ['--set', setting]
    assert main([*words, '--set', 'data.validation_samples=10']) == 0
    capsys.readouterr()
    assert main(['calibrate', str(tmp_path / 'g'), '--reference']) == 2
    assert 'is of a graph' in capsys.readouterr().err


def test_without_calibration_the_command_is_named(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['evaluate', str(run), '--early-exit', '--reference']) == 2
    assert f'dff calibrate {run}' in capsys.readouterr().err


@pytest.mark.parametrize('points', ['-1', '101', 'nan', 'inf'])
def test_a_loss_that_cannot_be_is_refused_before_anything_starts(
    points: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(['calibrate', 'not_even_a_run', f'--max-loss={points}']) == 2
    assert (
        f'--max-loss must be 0 to 100 percentage points, got {points}' in capsys.readouterr().err
    )
