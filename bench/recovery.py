# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
How long a run needs after a node was killed, and what checkpoints cost.

Layers and the coordinator of config/mnist.yaml are killed in turn. Recovery is the time from the
kill until the network trains an item that none of its layers had trained before; the start of the
process, until it takes part in the run, is part of it and told apart. The cost of checkpoints is
measured in alternating runs with the default interval and with none but the last.

    .dff/venv/bin/python bench/recovery.py [--kills 6] [--repeats 3]
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from runs import REPOSITORY, save, train

CONFIG = REPOSITORY / 'config' / 'mnist.yaml'
NODES = ('layer_1', 'coordinator', 'layer_0')


def main() -> None:
    """Measure and save bench/results/recovery.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--kills', type=int, default=6)
    parser.add_argument('--repeats', type=int, default=3)
    arguments = parser.parse_args()
    recoveries = measure_recovery(arguments.kills)
    longest = {
        name: max(
            each['recovery_s'] - each['start_s'] for each in recoveries if each['node'] == name
        )
        for name in {each['node'] for each in recoveries}
    }
    save(
        'recovery',
        {
            'config': 'config/mnist.yaml',
            'recoveries': recoveries,
            'longest_besides_start_s': longest,
            'checkpoint_cost': measure_cost(arguments.repeats),
        },
    )


def measure_recovery(kills: int) -> list[dict[str, Any]]:
    """Kill nodes of one run in turn; give the times."""
    found = []
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as runs:
        command = [str(REPOSITORY / 'dff'), 'train', str(CONFIG), '--json', '--runs', runs]
        command += ['--name', 'killed', '--set', 'training.epochs=40']
        command += ['--set', 'metrics.every_s=0.1']
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            folder = Path(runs) / 'killed'
            for number in range(kills):
                await_items(folder, last_item(folder) + 60)
                time.sleep(2.0 + number % 3)  # at different distances from the last checkpoint
                found.append(kill_and_wait(folder, NODES[number % len(NODES)]))
        finally:
            process.terminate()
            process.communicate()
    return found


def kill_and_wait(folder: Path, name: str) -> dict[str, Any]:
    """Kill a node; give the times until its process is up, and until training goes on."""
    node(name).kill()
    killed_s = time.time()
    time.sleep(0.4)  # what the others had reported is written by then; the network stands still
    before = last_item(folder)
    await_items(folder, before + 1)
    recovered_s = time.time()
    file = folder / 'checkpoints' / f'{name}.incarnation'
    while file.stat().st_mtime < killed_s:
        time.sleep(0.02)
    started_s = node(name).create_time()
    return {
        'node': name,
        'recovery_s': round(recovered_s - killed_s, 2),
        'start_s': round(file.stat().st_mtime - started_s, 2),
    }


def node(name: str) -> psutil.Process:
    """Find the process of a node of the run."""
    while True:
        for process in psutil.process_iter(['cmdline']):
            words = process.info['cmdline'] or []
            if '__ns:=/killed' in words and f'__node:={name}' in words:
                return process
        time.sleep(0.01)


def last_item(folder: Path) -> int:
    """Last item that any layer has reported."""
    file = folder / 'metrics.csv'
    if not file.exists():
        return 0
    with file.open(encoding='utf-8') as lines:
        return max((int(row['item']) for row in csv.DictReader(lines) if row['item']), default=0)


def await_items(folder: Path, item: int) -> None:
    """Wait until a layer reports an item."""
    while last_item(folder) < item:
        time.sleep(0.02)


def measure_cost(repeats: int) -> dict[str, Any]:
    """Train with the default checkpoints and with none on the way, in turn."""
    without = ('checkpoint.every_s=86400', 'stream.replay_mb=100000')
    ways: dict[str, tuple[str, ...]] = {'default': (), 'only_the_last': without}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, values in ways.items():
            words = [word for value in values for word in ('--set', value)]
            result = train(str(CONFIG), '--set', 'training.epochs=3', *words)
            seconds[way].append(result['seconds'])
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    return {'seconds': seconds, 'ratio': medians['default'] / medians['only_the_last']}


if __name__ == '__main__':
    main()
