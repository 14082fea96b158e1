# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
What an early exit saves on MNIST and what it costs, over ROS 2, everything included.

    .dff/venv/bin/python bench/early_exit.py FOLDER

Trains with 5000 samples set aside, chooses thresholds on them, and evaluates on the test set. Runs
that FOLDER holds already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from runs import REPOSITORY, save

CONFIGS: dict[str, list[str]] = {'mnist': [], 'mnist_softmax': ['training.epochs=10']}
"""configurations, and what is changed of them"""
VALIDATION = 'data.validation_samples=5000'
MAX_LOSS = '0.1'
CHOSEN = ('max_loss', 'whole_accuracy', 'accuracy', 'macs_saved', 'answered')
CHOSEN += ('confidence', 'k', 'mean', 'std', 'thresholds', 'macs')


def dff(*arguments: str) -> dict[str, Any]:
    """
    Run a dff command and give its answer.

    :raises RuntimeError: with what the command printed, if it failed.
    """
    command = [str(REPOSITORY / 'dff'), *arguments, '--json']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f'dff {" ".join(arguments)} failed:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, changed: list[str], folder: Path) -> dict[str, Any]:
    """Train, calibrate and evaluate one configuration."""
    settings = [word for each in [VALIDATION, *changed] for word in ('--set', each)]
    run = folder / name
    if not (run / 'result.json').exists():
        config = str(REPOSITORY / 'config' / f'{name}.yaml')
        dff('train', config, *settings, '--runs', str(folder), '--name', name)
    chosen = dff('calibrate', str(run), '--max-loss', MAX_LOSS)
    return {
        'config': f'config/{name}.yaml',
        'settings': [VALIDATION, *changed],
        'validation': {key: chosen[key] for key in CHOSEN},
        'test': dff('evaluate', str(run), '--early-exit'),
        'curve': chosen['curve'],
    }


def main() -> None:
    """Measure and save bench/results/early_exit.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('folder', type=Path, help='of the runs')
    folder = parser.parse_args().folder.resolve()
    save('early_exit', {name: measure(name, each, folder) for name, each in CONFIGS.items()})


if __name__ == '__main__':
    main()
