# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The graph example makes a graph that dff takes, and both ways learn it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'graph' / 'compare.py'


def test_a_small_graph_is_learned_both_ways() -> None:
    words = ['--seeds', '1', '--nodes', '500', '--epochs', '30', '--reference']
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heading, seed, mean = done.stdout.splitlines()
    assert heading.split() == ['seed', 'ForwardGNN', 'backpropagation']
    accuracies = [float(each) for each in re.findall(r'([\d.]+)%', seed)]
    assert len(accuracies) == 2
    assert min(accuracies) > 60, 'of five classes'
    assert mean.startswith('mean')
