# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C is answered in one line from the first import on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_MODULE = re.search(r"run_module='(.*?)'", (ROOT / 'dff').read_text(), re.DOTALL).group(1)
UP = 'print("up", flush=True)\n'
"""said when the interpreter itself has started, in which nothing of ours could be guarded"""


@pytest.mark.parametrize('delay_s', [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_ctrl_c_is_answered_in_one_line(delay_s: float, tmp_path: Path) -> None:
    words = ['train', '--reference', '--set', 'training.epochs=100000']
    process = subprocess.Popen(
        [sys.executable, '-c', UP + RUN_MODULE, 'dff_nodes.cli', *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'up\n'
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert 'Traceback' not in errors
    assert re.fullmatch(r'dff( train)?: stopped', errors.splitlines()[-1])
    assert process.returncode == 1
