# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The tables of Pipeline Forward-Forward (2404.08573) with our columns beside them.

Accuracy: each row's configuration under config/pff, over ROS 2.

    .dff/venv/bin/python bench/pff.py accuracy [mnist_random_softmax ...] [--seeds 0]

Speed-up: the same network and epochs on one emulated device (sequential) and on four of the same
share of a core (needs root), one after the other in one go.

    .dff/venv/bin/python bench/pff.py speedup [--units 784] [--chapters 60] [--cpu 0.4]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from runs import REPOSITORY, RESULTS, save, train

sys.path.insert(0, str(REPOSITORY))

from dff_nodes.data.dataset import load_dataset  # noqa: E402
from dff_nodes.runs.learning_config import DataConfig  # noqa: E402

CONFIGS = REPOSITORY / 'config' / 'pff'
PUBLISHED: dict[str, tuple[float, float]] = {
    'mnist_adaptive_goodness': (98.51, 2980.76),
    'mnist_random_goodness': (98.17, 2008.25),
    'mnist_fixed_goodness': (97.89, 1978.21),
    'mnist_adaptive_softmax': (98.30, 1886.42),
    'mnist_random_softmax': (98.33, 1786.30),
    'mnist_performance_optimised': (98.38, 4219.97),
    'cifar10_performance_optimised': (53.50, 4920.97),
    'cifar10_random_softmax': (52.18, 7636.99),
    'cifar10_fixed_softmax': (50.89, 8021.15),
    'cifar10_adaptive_goodness': (11.10, 10148.23),
}
"""test accuracy, %, and training time, s, with 100 epochs; of All-Layers where that is told"""
SPEED_UP = {'stream': None, 'single_layer': 3.64, 'all_layers': 3.75}
"""of four nodes over one, as published"""
WORKERS = 4
TEST_SAMPLES = 1000


def accuracy(arguments: argparse.Namespace) -> None:
    """Train the rows and save bench/results/pff_accuracy.json."""
    rows = []
    for name in arguments.rows or list(PUBLISHED):
        for seed in arguments.seeds:
            result = train(str(CONFIGS / f'{name}.yaml'), '--set', f'seed={seed}')
            rows.append(
                {
                    'row': name,
                    'seed': seed,
                    'published_percent': PUBLISHED[name][0],
                    'published_seconds': PUBLISHED[name][1],
                    'percent': 100 * result['test_accuracy'],
                    'seconds': result['seconds'],
                    'epochs': result['epochs'],
                    'bytes': sum(result['wire_bytes'].values()),
                    'schedule': result['schedule'],
                }
            )
            print(_line(rows[-1]), flush=True)
    again = {(row['row'], row['seed']) for row in rows}
    kept = [row for row in _saved_rows() if (row['row'], row['seed']) not in again]
    save('pff_accuracy', {'rows': [*kept, *rows]})


def _saved_rows() -> list[dict[str, Any]]:
    """Give the rows that were measured before."""
    path = RESULTS / 'pff_accuracy.json'
    return json.loads(path.read_text())['rows'] if path.exists() else []


def _line(row: dict[str, Any]) -> str:
    return (
        f'{row["row"]}: {row["percent"]:.2f} % in {row["seconds"]:.0f} s and {row["epochs"]} '
        f'epochs ({row["schedule"]}, {row["bytes"] / 1e6:.0f} MB), published '
        f'{row["published_percent"]:.2f} % in {row["published_seconds"]:.0f} s and 100 epochs'
    )


def speedup(arguments: argparse.Namespace) -> None:
    """Measure on emulated devices and save the figures."""
    schedules = ['sequential', *arguments.schedules]
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        data = _few_digits(folder, arguments.samples)
        found = {name: _lab(name, arguments, data) for name in schedules}
    chapters, layers = arguments.chapters, WORKERS
    bound = layers * chapters / (chapters + layers - 1)
    base = _training_seconds(found['sequential'])
    rows = {
        name: {
            'speed_up': base / _training_seconds(result),
            'published': SPEED_UP.get(name),
            'training_seconds': _training_seconds(result),
            'seconds': result['seconds'],
            'test_accuracy': result['test_accuracy'],
            'wire_bytes': result['wire_bytes'],
            'computing_seconds': result.get('computing_seconds'),
            'waiting_seconds': result.get('waiting_seconds'),
        }
        for name, result in found.items()
    }
    for name, row in rows.items():
        print(f'{name}: {row["seconds"]:.1f} s, {row["speed_up"]:.2f} times', flush=True)
    settings = {
        'network': f'784-{"-".join([str(arguments.units)] * layers)}',
        'rule': arguments.rule,
        'samples': arguments.samples,
        'moments': arguments.moments,
        'dtype': arguments.dtype,
        'batch_size': arguments.batch,
        'chapters': chapters,
        'cpu_of_each_device': arguments.cpu,
        'bound_of_chapters': bound,
    }
    save(arguments.name, {**settings, 'schedules': rows})


def _few_digits(folder: str, samples: int) -> str:
    """Write the first samples of MNIST, so that evaluations take no time that counts."""
    whole = load_dataset(DataConfig(dataset='mnist'))
    path = Path(folder) / 'few.npz'
    few = {'train': samples, 'test': TEST_SAMPLES}
    arrays = {
        f'{axis}_{split}': getattr(whole, f'{axis}_{split}')[:count].numpy()
        for split, count in few.items()
        for axis in 'xy'
    }
    np.savez(path, **arrays)
    return str(path)


def _training_seconds(result: dict[str, Any]) -> float:
    """Until the last part was made; of the stream, with its evaluation of few samples."""
    return result.get('training_seconds', result['seconds'])


def _schedule(name: str, moments: str) -> dict[str, str]:
    return {'name': name, **({'moments': moments} if name == 'all_layers' else {})}


def _lab(schedule: str, arguments: argparse.Namespace, data: str) -> dict[str, Any]:
    """Train on emulated devices: four, or one for the sequential schedule."""
    tree = {
        'data.dataset': data,
        'network': [{'units': arguments.units, 'rule': arguments.rule}] * WORKERS,
        'training.epochs': arguments.chapters,
        'training.batch_size': arguments.batch,
        'schedule': _schedule(schedule, arguments.moments),
        'stream.dtype': arguments.dtype,
        'evaluation': {'every_epochs': 0, 'train_samples': 0},
    }
    words = [
        word for key, value in tree.items() for word in ('--set', f'{key}={json.dumps(value)}')
    ]
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        done = subprocess.run(
            [str(REPOSITORY / 'dff'), 'lab', '--json', '--cpu', str(arguments.cpu)]
            + ['--runs', folder, '--name', schedule, *words],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f'dff lab failed for {schedule}:\n{done.stderr}')
    result = json.loads(done.stdout.splitlines()[-1])
    print(f'{schedule}: {result["seconds"]:.1f} s', flush=True)
    return result


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    verbs = parser.add_subparsers(required=True)
    rows = verbs.add_parser('accuracy')
    rows.add_argument('rows', nargs='*', choices=[[], *PUBLISHED])
    rows.add_argument('--seeds', type=int, nargs='+', default=[0])
    rows.set_defaults(run=accuracy)
    speed = verbs.add_parser('speedup')
    speed.add_argument('--units', type=int, default=784)
    speed.add_argument('--rule', default='swish')
    speed.add_argument('--samples', type=int, default=12000)
    speed.add_argument('--batch', type=int, default=256)
    speed.add_argument('--dtype', choices=['float32', 'float16', 'uint8'], default='uint8')
    speed.add_argument('--moments', choices=['travel', 'stay'], default='travel')
    speed.add_argument('--chapters', type=int, default=60)
    speed.add_argument('--cpu', type=float, default=0.4)
    speed.add_argument('--schedules', nargs='+', choices=list(SPEED_UP), default=list(SPEED_UP))
    speed.add_argument('--name', default='pff_speedup', help='of the file in bench/results')
    speed.set_defaults(run=speedup)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == '__main__':
    main()
