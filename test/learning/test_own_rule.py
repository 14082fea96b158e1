# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A rule of another package is found by its entry point, and trains a layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / 'examples' / 'centroid_rule'


def installed(folder: Path, points: str) -> dict[str, str]:
    """Put a package's metadata on the path, as an installation does, and its code."""
    metadata = folder / 'centroid_rule-0.1.0.dist-info'
    metadata.mkdir(parents=True)
    (metadata / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: centroid-rule\nVersion: 0.1.0\n'
    )
    (metadata / 'entry_points.txt').write_text(f'[dff_nodes.rules]\n{points}\n')
    path = [str(folder), str(EXAMPLE), os.environ.get('PYTHONPATH', '')]
    return os.environ | {'PYTHONPATH': os.pathsep.join(path)}


def dff(environment: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'dff_nodes.cli', *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_trains(tmp_path: Path) -> None:
    environment = installed(tmp_path / 'site', 'centroid = centroid_rule:CentroidRule')
    network = 'network=[{units: 100, normalization: batch, rule: {name: centroid, sharpness: 3}}]'
    words = ['train', '--reference', '--json', '--set', network, '--set', 'training.epochs=5']
    done = dff(environment, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])['test_accuracy'] > 0.9


OWN = """
from typing import Literal
from torch.nn.functional import softplus
from dff_nodes.runs.rules import PairRule, Rule

class Margin(PairRule):
    name: Literal['margin'] = 'margin'
    implementation = 'own:margin_loss'

def margin_loss(rule, units):
    return lambda positive, negative: softplus(4 * (negative - positive)).mean()

class Alone(Rule):
    name: Literal['alone'] = 'alone'
    implementation = 'own:margin_loss'
    streams = 2

class Absent(Rule):
    name: Literal['absent'] = 'absent'
    implementation = 'own:nothing_of_that_name'
"""


def test_a_rule_of_pairs_is_a_function_of_both_goodnesses(tmp_path: Path) -> None:
    environment = installed(tmp_path / 'site', 'margin = own:Margin')
    (tmp_path / 'site' / 'own.py').write_text(OWN)
    results = []
    for rule in ('margin', 'symba'):
        words = ['train', '--reference', '--json', '--set', 'training.epochs=3', '--name', rule]
        done = dff(
            environment, tmp_path, *words, '--set', f'network=[{{units: 60, rule: {rule}}}]'
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout.splitlines()[-1]))
    assert results[0]['test_accuracy'] == results[1]['test_accuracy'] > 0.8, 'the same loss'


@pytest.mark.parametrize(
    ('point', 'said'),
    [
        (
            'swish = dff_nodes.runs.rules:SwishRule',
            "is named 'swish', and there is a rule of this",
        ),
        ('gone = not_there:Gone', "cannot be loaded: ModuleNotFoundError: No module named 'not_t"),
        ('gone = own:Gone', 'cannot be loaded: AttributeError'),
        (
            'no_rule = own:margin_loss',
            'must be a subclass of dff_nodes.runs.rules.Rule, got <func',
        ),
        ('nameless = dff_nodes.runs.rules:Rule', 'must say in `implementation`'),
        ('alone = own:Alone', 'must be a subclass of dff_nodes.runs.rules.PairRule'),
    ],
)
def test_a_package_whose_rule_is_wrong_is_named(tmp_path: Path, point: str, said: str) -> None:
    environment = installed(tmp_path / 'site', point)
    (tmp_path / 'site' / 'own.py').write_text(OWN)
    done = dff(environment, tmp_path, 'check', '--json')
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'dff check: the rule {point} of the installed package centroid-rule')
    assert said in line
    assert json.loads(done.stdout) == {'error': line.removeprefix('dff check: '), 'status': 2}


def test_a_rule_whose_implementation_is_not_there_is_refused_before_training(
    tmp_path: Path,
) -> None:
    environment = installed(tmp_path / 'site', 'absent = own:Absent')
    (tmp_path / 'site' / 'own.py').write_text(OWN)
    done = dff(environment, tmp_path, 'check', '--set', 'network=[{units: 60, rule: absent}]')
    assert done.returncode == 2
    assert "network[0].rule absent cannot train: the implementation 'own:nothing" in done.stderr
    assert dff(environment, tmp_path, 'check').returncode == 0, 'others go on'
