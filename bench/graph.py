# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
ForwardGNN over ROS 2 beside backpropagation, on the graphs of examples/graph.

    .dff/venv/bin/python bench/graph.py [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from statistics import mean

from runs import REPOSITORY, save

sys.path.insert(0, str(REPOSITORY / 'examples' / 'graph'))

import compare  # noqa: E402


def main() -> None:
    """Measure and save bench/results/graph.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    seeds = parser.parse_args().seeds
    blocks = compare.Blocks()
    rows = {seed: compare.compare(blocks, seed, compare.EPOCHS) for seed in seeds}
    ways = ('forward', 'backpropagation')
    settings = {
        'units': compare.UNITS,
        'epochs': compare.EPOCHS,
        'learning_rate': compare.LEARNING_RATE,
        'weight_decay': compare.WEIGHT_DECAY,
    }
    means = {way: mean(row[way] for row in rows.values()) for way in ways}
    graph = asdict(blocks)
    save('graph', {'graph': graph, 'settings': settings, 'mean': means, 'seeds': rows})


if __name__ == '__main__':
    main()
