# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The proof that faults change nothing: a lab run with many of them equals `--reference`.

MNIST over four emulated devices whose links lose 1 % of all packets, while nodes are killed and
stopped and cables pulled. Needs root.

    .dff/venv/bin/python bench/chaos.py [--faults 50] [--epochs 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

from runs import REPOSITORY, save, train

CONFIG = str(REPOSITORY / 'config' / 'lab_pi4.yaml')
COMPARED = ('weights_sha256', 'applied_items_sha256', 'test_accuracy', 'history', 'items')


def main() -> int:
    """Run, compare, and save bench/results/chaos.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--faults', type=int, default=50)
    parser.add_argument('--every', default='3s')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--loss', default='1%')
    parser.add_argument('--set', action='append', default=[])
    arguments = parser.parse_args()
    values = [f'training.epochs={arguments.epochs}', *arguments.set]
    common = [word for value in values for word in ('--set', value)]
    plan = f'every={arguments.every} seed={arguments.seed} faults=kill,stop,link '
    plan += f'count={arguments.faults}'
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        command = [str(REPOSITORY / 'dff'), 'lab', CONFIG, '--json', '--runs', folder, *common]
        command += ['--loss', arguments.loss, '--chaos', plan]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    answer = json.loads(done.stdout.splitlines()[-1])
    if done.returncode != 0:
        sys.stderr.write(f'dff lab failed: {answer.get("error")}\n')
        return 1
    expected = train(CONFIG, '--reference', *common)
    same = {key: answer[key] == expected[key] for key in COMPARED}
    save(
        'chaos',
        {
            'config': 'config/lab_pi4.yaml',
            'settings': values,
            'plan': plan,
            'loss': arguments.loss,
            'injected': answer['chaos'],
            'same_as_reference': same,
            'test_accuracy': answer['test_accuracy'],
            'seconds': answer['seconds'],
            'restarts': answer['restarts'],
            'resent_items': answer['resent_items'],
            'rejected_messages': answer['rejected_messages'],
        },
    )
    return 0 if all(same.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
