# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The reference on one emulated device: the whole network where a cluster has one layer."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from dff_nodes.lab.commands import LabError
from dff_nodes.lab.lab import Lab
from dff_nodes.nodes.process import PR_SET_PDEATHSIG
from dff_nodes.runs import units


@dataclass(frozen=True)
class Finished:
    """What the command on the device came to."""

    status: int
    output: str


def run_reference_on(lab: Lab, device: str, arguments: list[str]) -> Finished:
    """
    Run `dff train --reference` on a device; what it says goes to standard error.

    :param arguments: of `dff train`.
    :raises LabError: if the device's memory does not suffice.
    """
    train = [sys.executable, '-m', 'dff_nodes.cli', 'train', '--reference', '--json', *arguments]
    process = subprocess.Popen(
        lab.command_on(device, train),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONSAFEPATH': '1'},
        preexec_fn=_die_with_parent,
        text=True,
    )
    try:
        output, _ = process.communicate()
    finally:
        process.kill()
    if process.returncode == -signal.SIGKILL and lab.out_of_memory():
        memory = lab.devices[device].limits.memory_mb
        raise LabError(
            f'the reference was killed: out of memory under {units.megabytes(memory)}, the whole '
            f'of {device}. Without --reference each device has its own layers only'
        )
    return Finished(process.returncode, output)


def _die_with_parent() -> None:
    """A lab that is killed leaves no training behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
