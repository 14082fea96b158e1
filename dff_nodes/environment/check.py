# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Checks that what was set up works, each part in a process of its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dff_nodes.environment.process import SetUpError

ROS = """
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from dff_msgs.msg import Credit
deserialize_message(serialize_message(Credit()), Credit)
context = rclpy.Context()
rclpy.init(context=context)
rclpy.shutdown(context=context)
"""
TORCH = """
import torch
torch.set_num_threads(1)
weight = torch.ones(64, 64, requires_grad=True)
optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
(weight @ weight).sum().backward()
optimizer.step()
assert torch.isfinite(weight).all() and weight[0, 0] < 1, weight
print(torch.__version__)
"""
PI_ADVICE = """This PyTorch was built for a newer processor than this one (illegal instruction).
On a Raspberry Pi 4 the versions 2.4.0, 2.6.0 and 2.10.0 are known not to run. Put another one in:
    {python!r} -m pip install torch==2.5.1 --index-url https://download.pytorch.org/whl/cpu
and start again: it is kept (2.3.1 and 2.11.0 are the next to try)."""
TIME_LIMIT_S = 120


def run_check(
    python: Path,
    code: str,
    environment: Mapping[str, str] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> subprocess.CompletedProcess:
    """Run Python code in a child; a timeout looks like a failure that says so."""
    command = [str(python), '-c', code]
    try:
        return subprocess.run(
            command,
            env=environment,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding='utf-8',
            errors='replace',
            timeout=time_limit_s,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, '', f'no answer in {time_limit_s:.0f} s')


def is_illegal_instruction(done: subprocess.CompletedProcess) -> bool:
    """Whether the child died of an instruction that this processor does not have."""
    return done.returncode == -signal.SIGILL


def check_all(python: Path, environment: Mapping[str, str]) -> str:
    """Check ROS 2 with our messages, then PyTorch; returns PyTorch's version."""
    ros = run_check(python, ROS, environment)
    if ros.returncode:
        raise SetUpError(
            'ROS 2 with the messages of dff_nodes does not work here:\n'
            f'{last_lines(ros)}\nRemove the environment (.dff, or $DFF_HOME) and '
            'start again; if it stays, this text belongs into a bug report.'
        )
    torch = run_check(python, TORCH, environment)
    if is_illegal_instruction(torch):
        raise SetUpError(PI_ADVICE.format(python=str(python)))
    if torch.returncode:
        raise SetUpError(
            f'PyTorch does not work here:\n{last_lines(torch)}\nPut another one in, '
            f'it is kept: {str(python)!r} -m pip install torch==VERSION'
        )
    return torch.stdout.strip()


def last_lines(done: subprocess.CompletedProcess, count: int = 6) -> str:
    """Return the end of what a child said, or how it ended."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    ended = f'(it said nothing and ended with status {done.returncode})'
    return '\n'.join('    ' + line[:300] for line in lines[-count:]) or ended
