# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
How well `dff plan` foretells: its times beside those of the lab, for 1 to 4 emulated devices.

Each schedule runs for a few epochs and for some more: what the longer run takes beyond the
shorter is the time of so many epochs, without what a run needs to get going. Step times are
measured right before both and right after, on the machine that emulates the devices meanwhile, and
the mean of what either foretells counts: how fast a machine is that others share changes within
minutes. Samples are made up, since times do not depend on them. The load of the machine is written
down before every run: what others compute takes from the devices what they were promised. Needs
root.

    .dff/venv/bin/python bench/plan.py [--cpu 0.4] [--link 100mbit] [--devices 2 3 4]
                              [--epochs 4 12]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from runs import REPOSITORY, save

CLASSES = 10
PIXELS = 28
TEST_SAMPLES = 500
SCHEDULES = ('sequential', 'stream', 'single_layer', 'all_layers')


def dff(verb: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a verb and give its answer; raises RuntimeError with what it printed."""
    command = [str(REPOSITORY / 'dff'), verb, '--json', *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f'dff {verb} {" ".join(arguments)} failed:\n{done.stderr[-3000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def make_samples(path: Path, samples: int) -> None:
    """Write images of noise."""
    random = np.random.default_rng(0)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        images = random.integers(0, 256, (count, PIXELS, PIXELS, 1), dtype=np.uint8)
        return images, np.arange(count) % CLASSES

    x_train, y_train = split(samples)
    x_test, y_test = split(TEST_SAMPLES)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def in_the_lab(folder: Path, schedule: str, planned: dict[str, Any], words: list[str]) -> Any:
    """Run the lab with the placement that was planned; devices are named as the lab's own."""
    hosts = {}
    for host, nodes in planned['placement'].items():
        hosts['desk' if host == 'desk' else f'pi{len(hosts)}'] = nodes
    workers = sum(len(nodes) for nodes in hosts.values()) - 1
    setting: dict[str, Any] = {'name': schedule}
    if schedule == 'all_layers':
        setting['workers'] = workers
    given = [f'schedule={json.dumps(setting)}', f'placement={json.dumps(hosts)}']
    return dff('lab', folder, *words, *(word for each in given for word in ('--set', each)))


def main() -> None:
    """Measure and save bench/results/plan.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--cpu', default='0.4')
    parser.add_argument('--link', default='100mbit')
    parser.add_argument('--devices', type=int, nargs='+', default=[2, 3, 4])
    parser.add_argument('--schedules', nargs='+', default=list(SCHEDULES), choices=SCHEDULES)
    parser.add_argument('--samples', type=int, default=8192)
    parser.add_argument(
        '--epochs', type=int, nargs=2, default=[4, 12], help='of the shorter and the longer run'
    )
    parser.add_argument('--units', type=int, default=500)
    parser.add_argument('--layers', type=int, default=4)
    parser.add_argument('--name', default='plan', help='of the file in bench/results')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as name:
        figures = _compare(arguments, Path(name))
    save(arguments.name, {'settings': vars(arguments), **figures})


def _compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_samples(folder / 'noise.npz', arguments.samples)
    network = [{'units': arguments.units}] * arguments.layers
    common = [
        'data.dataset=noise.npz',
        f'network={json.dumps(network)}',
        'training.batch_size=256',
        'training.negatives.mode=random',
        'stream.dtype=float16',
        'evaluation.train_samples=0',
        'evaluation.every_epochs=0',
    ]
    words = [word for each in common for word in ('--set', each)]
    rows: list[dict[str, Any]] = []
    measured: list[dict[str, Any]] = []
    for count in arguments.devices:
        for schedule in arguments.schedules:
            if schedule == 'sequential' and count != arguments.devices[0]:
                continue
            row, times = _measured_row(arguments, folder, schedule, count, words)
            measured.append({'devices': count, 'schedule': schedule, 'times': times})
            rows.append(row)
            sys.stderr.write(json.dumps(row) + '\n')
    return {'measured': measured, 'runs': rows}


def _measured_row(
    arguments: argparse.Namespace, folder: Path, schedule: str, count: int, words: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schedule on so many devices, and the times that it is foretold from."""
    devices = ['--devices', f'lab{arguments.cpu}x{count}', '--link', arguments.link]
    settings = [[*words, '--set', f'training.epochs={n}'] for n in arguments.epochs]
    before, times_before = _foretold(folder, schedule, settings, devices)
    runs = [
        _run(arguments, folder, planned, own, count)
        for planned, own in zip(before, settings, strict=True)
    ]
    after, times_after = _foretold(folder, schedule, settings, devices)
    for run, planned in zip(runs, after, strict=True):
        run['predicted_s_after'] = planned['seconds']
        run['predicted_s'] = (run['predicted_s_before'] + planned['seconds']) / 2
    times = {'before': times_before, 'after': times_after}
    return _row(schedule, runs, arguments.epochs), times


def _foretold(
    folder: Path, schedule: str, runs: list[list[str]], devices: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure once; give what is foretold of each run, and the times that were measured."""
    found = [
        dff('plan', folder, *words, *devices, *(['--measure'] if place == 0 else []))
        for place, words in enumerate(runs)
    ]
    planned = [next(x for x in each['candidates'] if x['schedule'] == schedule) for each in found]
    return planned, found[0]['times']


def _run(
    arguments: argparse.Namespace,
    folder: Path,
    planned: dict[str, Any],
    words: list[str],
    devices: int,
) -> dict[str, Any]:
    """One run: foretold, measured, and the load of the machine."""
    load = os.getloadavg()[0]
    lab = ['--cpu', arguments.cpu, '--link', arguments.link]
    result = in_the_lab(folder, planned['schedule'], planned, [*words, *lab])
    return {
        'devices': 1 if planned['schedule'] == 'sequential' else devices,
        'predicted_s_before': planned['seconds'],
        'measured_s': result['seconds'],
        'predicted_bytes': planned['bytes'],
        'measured_bytes': sum(result['wire_bytes'].values())
        + sum(result.get('goodness_bytes', {}).values()),
        'bottleneck': planned['bottleneck'],
        'computing_s': result.get('computing_seconds'),
        'waiting_s': result.get('waiting_seconds'),
        'cpu_s': {host: used['cpu_seconds'] for host, used in result['lab']['devices'].items()},
        'load_before': load,
        'load_after': os.getloadavg()[0],
    }


def _row(schedule: str, runs: list[dict[str, Any]], epochs: list[int]) -> dict[str, Any]:
    """Time of an epoch, foretold and measured, from a shorter and a longer run."""
    short, long = runs
    more = epochs[1] - epochs[0]
    predicted, measured = (
        (long[key] - short[key]) / more for key in ('predicted_s', 'measured_s')
    )
    return {
        'schedule': schedule,
        'devices': long['devices'],
        'predicted_epoch_s': predicted,
        'measured_epoch_s': measured,
        'predicted_over_measured': predicted / measured,
        'of_whole_runs': [each['predicted_s'] / each['measured_s'] for each in runs],
        'runs': runs,
    }


if __name__ == '__main__':
    main()
