# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
What ROS 2 costs: the same run over ROS 2 processes and as --reference, side by side.

The reference gets the same cores as the nodes together, once as PyTorch threads and once as it
is (one thread, whose weights the ROS 2 run equals). Runs alternate, so that a machine that slows
down slows both; the ratio is of medians.

    .dff/venv/bin/python bench/overhead.py [--config config/mnist.yaml] [--epochs 3] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics

from runs import REPOSITORY, save, train


def main() -> None:
    """Measure and save bench/results/overhead.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--config', default=str(REPOSITORY / 'config' / 'mnist.yaml'))
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--repeats', type=int, default=3)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    common = (arguments.config, '--set', f'training.epochs={arguments.epochs}')
    ways = {
        'ros': common,
        f'reference_{cores}_threads': (
            *common,
            '--reference',
            '--set',
            f'compute.threads={cores}',
        ),
        'reference_1_thread': (*common, '--reference'),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    weights: dict[str, dict[str, str]] = {}
    for _ in range(arguments.repeats):
        for way, words in ways.items():
            result = train(*words)
            seconds[way].append(result['seconds'])
            weights[way] = result['weights_sha256']
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    save(
        'overhead',
        {
            'config': os.path.relpath(arguments.config, REPOSITORY),
            'epochs': arguments.epochs,
            'seconds': seconds,
            'ros_over_reference': {
                way: medians['ros'] / median for way, median in medians.items() if way != 'ros'
            },
            'same_weights_as_one_thread': weights['ros'] == weights['reference_1_thread'],
        },
    )


if __name__ == '__main__':
    main()
