# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Accuracy and time of the shipped configurations, over ROS 2, everything included.

    .dff/venv/bin/python bench/accuracy.py config/mnist.yaml [--seeds 0 1 2] [--add]

Each seed is saved as soon as it is measured, with the machine that it was measured on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runs import machine, read, train, write

KEPT = (
    'test_accuracy',
    'train_accuracy',
    'layer_accuracy',
    'epochs',
    'seconds',
    'setup_seconds',
    'samples_per_second',
    'wire_bytes',
    'parameter_bytes',
    'peak_rss_mb',
    'base_rss_mb',
    'weights_sha256',
)


def main() -> None:
    """Measure and save bench/results/CONFIG.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('config')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--add',
        action='store_true',
        help='keep the other seeds of the file, measured with the same configuration',
    )
    arguments = parser.parse_args()
    name = Path(arguments.config).stem
    by_seed = read(name)['seeds'] if arguments.add else {}
    for seed in arguments.seeds:
        result = train(arguments.config, '--set', f'seed={seed}')
        by_seed[str(seed)] = {'machine': machine(), **{key: result[key] for key in KEPT}}
        in_order = dict(sorted(by_seed.items(), key=lambda item: int(item[0])))
        write(name, {'config': arguments.config, 'seeds': in_order})


if __name__ == '__main__':
    main()
