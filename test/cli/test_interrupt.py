# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C is answered in one line from the first import on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_MODULE = re.search(r"run_module='(.*?)'", (ROOT / 'dff').read_text(), re.DOTALL).group(1)
UP = RUN_MODULE.replace('try:', 'try:\n    print("up", flush=True)', 1)
"""says when all that follows is guarded"""


@pytest.mark.parametrize('when', ['in the imports', 'in training'])
def test_ctrl_c_is_answered_in_one_line(when: str, tmp_path: Path) -> None:
    words = ['train', '--reference', '--set', 'training.epochs=100000']
    process = subprocess.Popen(
        [sys.executable, '-c', UP, 'dff_nodes.cli', *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'up\n'
    if when == 'in training':
        assert 'epoch' in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert 'Traceback' not in errors
    said = r'dff( train)?: stopped' if when == 'in the imports' else 'dff train: paused at item .*'
    assert re.fullmatch(said, errors.splitlines()[-1])
    assert process.returncode == 1


def test_a_run_in_one_process_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    def train(*words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, '-m', 'dff_nodes.cli', 'train', '--reference', '--json', *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    few = ['--set', 'training.epochs=40', '--set', 'training.negatives.mode=adaptive']
    stopped = train('--name', 'stopped', *few)
    assert 'epoch' in stopped.stderr.readline()
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate()
    told = re.search(r'paused at item (\d+) of \d+: continue with (.*)', errors)
    assert told.group(2) == f'dff train --reference --resume {tmp_path}/runs/stopped'
    assert list((tmp_path / 'runs/stopped/checkpoints').glob(f'*-{int(told.group(1)):09d}.ckpt'))
    results = []
    for words in (['--resume', 'runs/stopped'], ['--name', 'whole', *few]):
        output, errors = train(*words).communicate()
        results.append(json.loads(output.splitlines()[-1]))
    for key in ('weights_sha256', 'applied_items_sha256', 'history'):
        assert results[0][key] == results[1][key]
