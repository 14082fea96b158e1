# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C is answered in one line from the first import on."""

from __future__ import annotations

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
    assert re.fullmatch(r'dff( train)?: stopped', errors.splitlines()[-1])
    assert process.returncode == 1
