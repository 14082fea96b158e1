# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A rule of another package is found by its entry point, and trains a layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    environment = installed(tmp_path / 'site', 'swish = dff_nodes.runs.rules:SwishRule')
    done = dff(environment, tmp_path, 'check')
    assert done.returncode != 0
    assert "there is a rule 'swish' already" in done.stderr
