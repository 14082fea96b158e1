# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a thread that computes does with the smallest numbers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SMALLEST_NORMAL = 1.1754944e-38
IDLE_STEPS = 1500
"""0.9 to their power is far below the smallest number of all"""
UNITS = 600

PROGRAM = f"""
import json, sys, threading, torch
from dff_nodes.learning.compute import prepare_torch
from dff_nodes.learning.optimizers import make_optimizer
from dff_nodes.runs.layers import GroupOptimizer

def work():
    if sys.argv[1] == 'prepared':
        prepare_torch(int(sys.argv[2]), torch.device('cpu'))
    weight = torch.nn.Parameter(torch.ones({UNITS}, {UNITS}))
    optimizer = make_optimizer(GroupOptimizer(name='adam'), {{'weight': weight}})
    for step in range({IDLE_STEPS}):
        weight.grad = torch.full_like(weight, 1e-3 if step == 0 else 0.0)
        optimizer.step(0.001)
    moments = [each for name, each in optimizer.state().items() if each.numel() > 1]
    print(json.dumps([[float(each.abs().min()), float(each.abs().max())] for each in moments]))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
"""moments of weights that got one gradient, long ago: the range of each"""


def moments(*arguments: str) -> list[list[float]]:
    """Train in a thread of a process of its own."""
    command = [sys.executable, '-c', PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize('threads', [1, 2])
def test_moments_without_gradients_become_zero(threads: int) -> None:
    mean, square = moments('prepared', str(threads))
    assert mean == [0.0, 0.0]
    assert square[0] > SMALLEST_NORMAL  # what is still large enough stays


def test_moments_would_stick_above_zero() -> None:
    mean, _ = moments('as it comes', '1')
    assert 0 < mean[0] <= mean[1] < SMALLEST_NORMAL
