# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Accuracy and time of the shipped configurations, over ROS 2, everything included.

    .dff/venv/bin/python bench/accuracy.py config/mnist.yaml [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runs import save, train

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
    arguments = parser.parse_args()
    by_seed = {}
    for seed in arguments.seeds:
        result = train(arguments.config, '--set', f'seed={seed}')
        by_seed[seed] = {key: result[key] for key in KEPT}
    save(Path(arguments.config).stem, {'config': arguments.config, 'seeds': by_seed})


if __name__ == '__main__':
    main()
