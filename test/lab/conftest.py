# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tests that make emulated devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'nodes'))

from dff_command import Dff  # noqa: E402

from dff_nodes.lab.commands import LabError  # noqa: E402
from dff_nodes.lab.devices import Device  # noqa: E402
from dff_nodes.lab.lab import Lab  # noqa: E402
from dff_nodes.lab.network import LinkLimits  # noqa: E402


def made_by(pid: int) -> list[str]:
    """Name the namespaces and control groups of a lab's process."""
    folders = [Path('/run/netns'), *Path('/sys/fs/cgroup').glob('*'), Path('/sys/fs/cgroup')]
    return [str(path) for folder in folders for path in folder.glob(f'dfflab-{pid}-*')]


@pytest.fixture(scope='session')
def lab_machine() -> None:
    """Skip, with the reason, where this machine cannot make devices."""
    try:
        with Lab([Device('pi0', ())], LinkLimits(mbit=100, loss=0.01)):
            pass
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def nothing_left(lab_machine: None) -> Iterator[Callable[[int], list[str]]]:
    """Check that a test leaves nothing of its own labs behind."""
    yield made_by
    assert not made_by(os.getpid())


@pytest.fixture
def dff(tmp_path: Path, ros_environment: dict[str, str], nothing_left: Callable) -> Iterator[Dff]:
    """Run dff commands in a folder of their own; no node may be left at the end."""
    command = Dff(tmp_path, ros_environment)
    yield command
    try:
        command.await_gone()
    finally:
        for process in command.nodes():
            process.kill()
