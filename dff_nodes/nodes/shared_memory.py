# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Shared memory that Fast DDS leaves behind where a node is killed."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

SHARED_MEMORY = Path('/dev/shm')
LOCK_SUFFIX = '_el'
"""of the file beside a segment that its process keeps locked for as long as it lives"""
SEGMENT_LOCK = re.compile(rf'fastrtps_[0-9a-f]{{16}}{LOCK_SUFFIX}')
"""of a participant's own segment; ports, which participants share, are none of ours"""
YOUNGEST_S = 1.0
"""a lock file that was just made may not be locked yet"""


def left_overs(folder: Path = SHARED_MEMORY) -> list[Path]:
    """
    Find the segments of this user whose process has ended without removing them.

    The kernel gives the lock of a process back however that ends, so a segment whose lock can be
    had is nobody's: what Fast DDS's own `fastdds shm clean` goes by.
    """
    try:
        names = [name for name in os.listdir(folder) if SEGMENT_LOCK.fullmatch(name)]
    except OSError:
        return []
    segments = [folder / name.removesuffix(LOCK_SUFFIX) for name in sorted(names)]
    return [segment for segment in segments if _is_left_over(_lock_of(segment))]


def remove_left_overs(folder: Path = SHARED_MEMORY) -> int:
    """
    Remove the segments of processes that were killed, and give their bytes.

    Each is a dozen of the largest messages of its run, and would stay until the next boot: kill
    nodes often enough and /dev/shm is full, which ends the next node with SIGBUS.
    """
    freed = 0
    for segment in left_overs(folder):
        try:
            size = segment.stat().st_size if segment.exists() else 0
            segment.unlink(missing_ok=True)
            _lock_of(segment).unlink()
        except OSError:
            # Another node that has just started was quicker.
            continue
        freed += size
    return freed


def _lock_of(segment: Path) -> Path:
    return segment.with_name(segment.name + LOCK_SUFFIX)


def _is_left_over(lock: Path) -> bool:
    try:
        status = lock.stat()
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < YOUNGEST_S:
            return False
        with lock.open('rb') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
