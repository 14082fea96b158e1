# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One set-up at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_S = 0.5
ANNOUNCE_EVERY_S = 15.0


@contextlib.contextmanager
def exclusive(path: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock file `path`, waiting visibly for another set-up; yields its descriptor.

    The kernel drops the lock when the last process that has it open ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait(descriptor, say)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, say: Callable[[str], None]) -> None:
    begun = time.monotonic()
    announce_at = begun
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        now = time.monotonic()
        if now >= announce_at:
            holder = os.pread(descriptor, 20, 0).decode(errors='replace') or 'unknown'
            say(f'waiting for another set-up (process {holder}) to finish, {now - begun:.0f} s')
            announce_at = now + ANNOUNCE_EVERY_S
        time.sleep(POLL_S)
