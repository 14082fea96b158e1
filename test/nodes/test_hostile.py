# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
A run under hostile messages on every topic: it ends with the weights that it has without them.

Every message that is wrong in itself is refused and counted by each node that takes it in. Not
counted are replayed messages, which are the ordinary duplicates of a stream that resends, and
what the middleware cannot decode, which never reaches a node; both must change nothing.

A message of the right run, right in all fields and forged with knowledge of the stream is not
sent: only DDS security tells it from a genuine one (doc/security.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dff_command import Dff, settings

pytestmark = pytest.mark.ros

GROWTH_MB = 80
"""
Of a node's resident memory, from its first hostile message to its last: however many come.

Fast DDS keeps about 100 receive buffers for each topic, and each stays as large as the largest
message that it ever held: 2 x 100 x 300 kB for parts of checkpoints, 100 x 80 kB for goodness,
2 x 100 x 50 kB for status and config.
"""
LIMIT_S = 1200
"""of a run that is attacked with many messages"""
FUZZER = Path(__file__).with_name('fuzzer.py')


def rss_mb(dff: Dff, names: list[str]) -> dict[str, float]:
    return {name: dff.node(name).memory_info().rss / 1e6 for name in names}


@pytest.mark.parametrize(
    ('count', 'epochs'),
    [(120, 90), pytest.param(10_000, 2500, marks=pytest.mark.slow)],
)
def test_hostile_messages_change_nothing(dff: Dff, count: int, epochs: int) -> None:
    few = settings(
        network=[{'units': 64}, {'units': 64}],
        training__epochs=epochs,
        training__negatives__mode='adaptive',
        stream__window_items=16,
        # What a sender keeps for replay grows to this at first, attack or not.
        stream__replay_mb=8,
        checkpoint__replicate=True,
        checkpoint__every_s=1,
    )
    attack(dff, few, ['layer_0', 'layer_1'], count)


@pytest.mark.slow
def test_hostile_messages_change_nothing_between_chapters(dff: Dff) -> None:
    few = settings(
        network=[{'units': 64}, {'units': 64}],
        schedule='all_layers',
        training__epochs=120,
        training__batch_size=32,
        training__negatives__mode='adaptive',
        stream__resend_s=0.2,
    )
    attack(dff, few, ['worker_0', 'worker_1'], 60, '--chapters')


def attack(dff: Dff, few: list[str], members: list[str], count: int, *options: str) -> None:
    """Run with hostile messages and without, and compare."""
    process = dff.start('train', '--json', '--name', 'attacked', *few)
    names = ['coordinator', *members]
    dff.node(names[-1])
    fuzzer = subprocess.Popen(
        [sys.executable, str(FUZZER), '/attacked', str(len(members)), str(count), *options],
        env=dff.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert 'attacking' in fuzzer.stderr.readline()
    before = rss_mb(dff, names)
    output, errors = fuzzer.communicate()
    assert fuzzer.returncode == 0, errors
    after = rss_mb(dff, names)
    attacked = dff.finish(process, LIMIT_S)
    assert attacked.status == 0, attacked.errors
    calm = dff.start('train', '--json', '--reference', '--name', 'calm', *few)
    expected = dff.finish(calm, LIMIT_S)
    assert attacked.answer['weights_sha256'] == expected.answer['weights_sha256']
    told = json.loads(output.splitlines()[-1])
    assert all(sum(kinds.values()) == count for kinds in told['sent'].values())
    for name, rejected in attacked.answer['rejected_messages'].items():
        most = told['must'][name] + told['may'].get(name, 0)
        assert told['must'][name] <= rejected <= most, (name, told)
    assert all(after[name] - before[name] < GROWTH_MB for name in names), (before, after)
