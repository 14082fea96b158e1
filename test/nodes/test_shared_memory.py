# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What killed nodes leave in shared memory is removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dff_nodes.nodes.shared_memory import SHARED_MEMORY, left_overs, remove_left_overs

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], 'w')
fcntl.flock(file, fcntl.LOCK_EX)
print('locked', flush=True)
time.sleep(600)
"""
"""makes a lock file as Fast DDS does, and lives on"""
PARTICIPANT = """
import time
import rclpy
rclpy.init()
node = rclpy.create_node('left_over')
print('here', flush=True)
time.sleep(600)
"""
A_WHILE_AGO = time.time() - 60


def make(folder: Path, name: str, made: float = A_WHILE_AGO) -> Path:
    """Make a segment of 1000 bytes and its lock file, as a process leaves them."""
    segment = folder / name
    segment.write_bytes(b'x' * 1000)
    lock = segment.with_name(f'{name}_el')
    lock.touch()
    os.utime(lock, (made, made))
    return segment


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    segment = tmp_path / 'fastrtps_00000000000000aa'
    process = start(HOLDER, f'{segment}_el')
    make(tmp_path, segment.name)
    yield process
    process.kill()
    process.communicate()


def start(
    program: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start a program and wait until it has told that it is there."""
    process = subprocess.Popen(
        [sys.executable, '-c', program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout.readline()
    return process


def test_segments_of_ended_processes_go(tmp_path: Path) -> None:
    segments = [make(tmp_path, f'fastrtps_00000000000000{index:02x}') for index in range(3)]
    segments[2].unlink()  # the lock alone may be left too
    assert left_overs(tmp_path) == segments
    assert remove_left_overs(tmp_path) == 2000
    assert list(tmp_path.iterdir()) == []


def test_a_segment_stays_until_its_process_is_killed(
    tmp_path: Path, holder: subprocess.Popen
) -> None:
    assert remove_left_overs(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2
    holder.kill()
    holder.wait()
    assert remove_left_overs(tmp_path) == 1000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'name',
    ['fastrtps_port7411', 'fastrtps_00', 'mine_00000000000000aa', 'fastrtps_zz00000000000000'],
)
def test_what_is_no_segment_of_a_participant_stays(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    assert remove_left_overs(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_segment_that_was_just_made_stays(tmp_path: Path) -> None:
    make(tmp_path, 'fastrtps_00000000000000aa', made=time.time() + 60)
    assert remove_left_overs(tmp_path) == 0


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert remove_left_overs(tmp_path / 'none') == 0


@pytest.mark.ros
def test_what_a_killed_participant_leaves_is_found(ros_environment: dict[str, str]) -> None:
    """Fast DDS itself: if it names or locks its segments otherwise one day, this tells."""
    if not SHARED_MEMORY.is_dir():
        pytest.skip(f'{SHARED_MEMORY} is not there')
    before = set(os.listdir(SHARED_MEMORY))
    process = start(PARTICIPANT, environment=ros_environment)
    made = set(os.listdir(SHARED_MEMORY)) - before
    time.sleep(1.1)  # left_overs() looks at none that is younger than a second
    assert not {each.name for each in left_overs()} & made
    process.kill()
    process.communicate()
    found = {each.name for each in left_overs()} & made
    assert found
    remove_left_overs()
    assert not found & set(os.listdir(SHARED_MEMORY))
