# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dff_nodes.cli.__main__ import main

FEW = ['--set', 'training.epochs=1', '--set', 'network=[{units: 20}]']


def trained(folder: Path, name: str, *words: str) -> str:
    arguments = ['train', '--reference', '--json', '--runs', str(folder), '--name', name]
    assert main([*arguments, *FEW, *words]) == 0
    return str(folder / name)


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = trained(tmp_path, 'one')
    other = trained(tmp_path, 'other', '--set', 'seed=3')
    capsys.readouterr()
    assert main(['compare', '--json', one, other, one]) == 0
    told = capsys.readouterr()
    first, second, third = json.loads(told.out.splitlines()[-1])['runs']
    result = json.loads((tmp_path / 'one' / 'result.json').read_text())
    assert first['test_accuracy'] == result['test_accuracy']
    assert first['parameters'] == 65 * 20
    assert second['differences'] == ['seed: 0 here, 3 there']
    assert third['differences'] == []
    assert 'seed: 0 here, 3 there' in told.err


def test_an_unfinished_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = trained(tmp_path, 'one')
    (tmp_path / 'one' / 'result.json').unlink()
    assert main(['compare', run]) == 2
    assert 'has not finished' in capsys.readouterr().err


def test_samples_set_aside_are_not_called_the_test_set(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plain = trained(tmp_path, 'plain')
    assert 'validation' not in capsys.readouterr().err
    held_out = trained(tmp_path, 'held_out', '--set', 'data.validation_samples=300')
    told = capsys.readouterr().err
    assert 'epoch 1: validation accuracy' in told
    assert ' validation accuracy  ' in told
    assert 'test accuracy' not in told
    assert main(['compare', plain]) == 0
    assert 'val' not in capsys.readouterr().out
    assert main(['compare', plain, held_out]) == 0
    first, second, note = capsys.readouterr().out.splitlines()[1:4]
    assert 'val' not in first
    assert 'val ' in second
    assert 'not on the test set' in note
    assert main(['evaluate', held_out, '--reference']) == 0
    assert capsys.readouterr().err.startswith('validation accuracy')
    assert main(['evaluate', plain, '--reference']) == 0
    assert capsys.readouterr().err.startswith('test accuracy')
