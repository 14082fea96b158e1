# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The tables of Pipeline Forward-Forward (2404.08573) with our columns beside them.

Accuracy: each row's configuration under config/pff, over ROS 2.

    .dff/venv/bin/python bench/pff.py accuracy [mnist_random_softmax ...] [--seeds 0]

Speed-up (needs root): four emulated devices with the same share of a core train by a schedule,
and beside them a fifth by `sequential`. The speed-up is the steps of the four over those that the
one made in the same time: what the machine's speed does, and what the devices share of it, befalls
both alike.

    .dff/venv/bin/python bench/pff.py speedup [--side 28] [--chapters 60] [--cpu 0.35]

Images are the middle of MNIST's, and layers have as many units as images have pixels unless told
otherwise: a ring is as quick as its longest layer, so layers are alike.

With --epochs-each above 1 a chapter has so many epochs, and workers compute what arrives at a
layer once in a chapter (schedule.arrivals), the one of `sequential` too.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
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
KEPT = (
    'seconds',
    'test_accuracy',
    'wire_bytes',
    'computing_seconds',
    'waiting_seconds',
)
WORKERS = 4
LONGER = 5
"""times as many chapters for the one beside four: more than it comes to"""
LOOK_S = 0.5
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
    rows = {}
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        data = _digits(folder, arguments.samples, arguments.side)
        for name in arguments.schedules:
            rows[name] = _beside_sequential(name, arguments, data)
            print(f'{name}: {rows[name]["speed_up"]:.2f} times', flush=True)
    chapters, layers = arguments.chapters, WORKERS
    settings = {
        'network': '-'.join(map(str, [arguments.side**2] + [arguments.units] * layers)),
        'rule': arguments.rule,
        'samples': arguments.samples,
        'moments': arguments.moments,
        'dtype': arguments.dtype,
        'batch_size': arguments.batch,
        'negatives': arguments.negatives,
        'chapters': chapters,
        'epochs_each': arguments.epochs_each,
        'cpu_of_each_device': arguments.cpu,
        'bound_of_chapters': layers * chapters / (chapters + layers - 1),
    }
    save(arguments.name, {**settings, 'schedules': rows})


def _beside_sequential(name: str, arguments: argparse.Namespace, data: str) -> dict[str, Any]:
    """Let four devices train by a schedule, while a fifth does by `sequential`."""
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        # With far more to do than it will come to.
        longer = argparse.Namespace(**{**vars(arguments), 'chapters': LONGER * arguments.chapters})
        alone = Steps(Path(folder) / 'sequential' / 'metrics.csv')
        baseline = _start_lab('sequential', longer, data, folder)
        try:
            alone.begin(baseline)
            four = Steps(Path(folder) / name / 'metrics.csv')
            process = _start_lab(name, arguments, data, folder)
            began = four.begin(process)
            result = _result_of(process, name)
            # What the other device did in the time for which these four trained.
            ended = began + _training_seconds(result)
            compared = alone.at(ended) - alone.at(began)
        finally:
            baseline.send_signal(signal.SIGINT)
            baseline.communicate()
    steps = -(-arguments.samples // arguments.batch) * WORKERS
    steps *= arguments.chapters * arguments.epochs_each
    return {
        'speed_up': steps / compared,
        'published': SPEED_UP.get(name),
        'training_seconds': _training_seconds(result),
        'steps': steps,
        'steps_of_sequential': compared,
        **{key: result.get(key) for key in KEPT},
    }


class Steps:
    """How many training steps of all layers a run has made, by time; from its metrics.csv."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def begin(self, process: subprocess.Popen[str]) -> float:
        """Wait until it trains; give the time at which that was seen."""
        while not self._count():
            if process.poll() is not None:
                raise RuntimeError(f'dff lab ended: {process.communicate()[1]}')
            time.sleep(LOOK_S)
        began = time.monotonic()
        self._thread.start()
        return began

    def at(self, when: float) -> float:
        """Steps by a time, between two looks in proportion."""
        times, counts = zip(*self._seen, strict=True)
        return float(np.interp(when, times, counts))

    def _look(self) -> None:
        while self.path.exists():
            self._seen.append((time.monotonic(), self._count()))
            time.sleep(LOOK_S)

    def _count(self) -> int:
        """Sum up the last step that each layer has told."""
        if not self.path.exists():
            return 0
        rows = [line.split(',') for line in self.path.read_text().splitlines()]
        # The last line may be on its way.
        whole = [row for row in rows[1:] if len(row) == len(rows[0])]
        return sum({row[1]: int(row[2]) + 1 for row in whole}.values())


def _digits(folder: str, samples: int, side: int) -> str:
    """
    Write the middle of MNIST's first samples.

    Few of the test set, so that evaluations take no time that counts.
    """
    whole = load_dataset(DataConfig(dataset='mnist'))
    path = Path(folder) / 'digits.npz'
    first = (whole.x_train.shape[1] - side) // 2
    middle = slice(first, first + side)
    arrays = {}
    for split, count in (('train', samples), ('test', TEST_SAMPLES)):
        arrays[f'x_{split}'] = getattr(whole, f'x_{split}')[:count, middle, middle].numpy()
        arrays[f'y_{split}'] = getattr(whole, f'y_{split}')[:count].numpy()
    np.savez(path, **arrays)
    return str(path)


def _training_seconds(result: dict[str, Any]) -> float:
    """Until the last part was made; of the stream, with its evaluation of few samples."""
    return result.get('training_seconds', result['seconds'])


def _schedule(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if name == 'stream':
        return {'name': name}
    settings = {'name': name, 'splits': arguments.chapters}
    if name == 'all_layers':
        settings['moments'] = arguments.moments
    if arguments.epochs_each > 1:
        settings['arrivals'] = 'each_chapter'
    return settings


def _start_lab(
    schedule: str, arguments: argparse.Namespace, data: str, folder: str
) -> subprocess.Popen[str]:
    """Begin to train on emulated devices: four, or one for the sequential schedule."""
    tree = {
        'data.dataset': data,
        'network': [{'units': arguments.units, 'rule': arguments.rule}] * WORKERS,
        'training.epochs': arguments.chapters * arguments.epochs_each,
        'training.batch_size': arguments.batch,
        'training.negatives.mode': arguments.negatives,
        'schedule': _schedule(schedule, arguments),
        'stream.dtype': arguments.dtype,
        'metrics.every_s': LOOK_S,
        'evaluation': {'every_epochs': 0, 'train_samples': 0},
    }
    words = [
        word for key, value in tree.items() for word in ('--set', f'{key}={json.dumps(value)}')
    ]
    return subprocess.Popen(
        [str(REPOSITORY / 'dff'), 'lab', '--json', '--cpu', str(arguments.cpu)]
        + ['--runs', folder, '--name', schedule, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _result_of(process: subprocess.Popen[str], schedule: str) -> dict[str, Any]:
    output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f'dff lab failed for {schedule}:\n{errors}')
    return json.loads(output.splitlines()[-1])


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    verbs = parser.add_subparsers(required=True)
    rows = verbs.add_parser('accuracy')
    rows.add_argument('rows', nargs='*', choices=[[], *PUBLISHED])
    rows.add_argument('--seeds', type=int, nargs='+', default=[0])
    rows.set_defaults(run=accuracy)
    speed = verbs.add_parser('speedup')
    speed.add_argument(
        '--side', type=int, default=28, help='pixels of the middle that images are cut to'
    )
    speed.add_argument('--units', type=int, help="of each layer; default, an image's pixels")
    speed.add_argument('--rule', default='swish')
    speed.add_argument('--samples', type=int, default=12000)
    speed.add_argument('--batch', type=int, default=256)
    speed.add_argument('--dtype', choices=['float32', 'float16', 'uint8'], default='uint8')
    speed.add_argument('--moments', choices=['travel', 'stay'], default='travel')
    speed.add_argument('--negatives', choices=['random', 'fixed', 'adaptive'], default='random')
    speed.add_argument('--chapters', type=int, default=60)
    speed.add_argument('--epochs-each', type=int, default=1, help='of a chapter')
    speed.add_argument('--cpu', type=float, default=0.35)
    speed.add_argument('--schedules', nargs='+', choices=list(SPEED_UP), default=list(SPEED_UP))
    speed.add_argument('--name', default='pff_speedup', help='of the file in bench/results')
    speed.set_defaults(run=speedup)
    arguments = parser.parse_args()
    if getattr(arguments, 'units', 0) is None:
        arguments.units = arguments.side**2
    arguments.run(arguments)


if __name__ == '__main__':
    main()
