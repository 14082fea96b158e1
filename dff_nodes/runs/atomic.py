# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Writes a file whole or not at all, and durably."""

from __future__ import annotations

import errno
import os
from pathlib import Path

MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""what keeps a file from being written and can be mended while a run waits"""


class AtomicFile:
    """
    A file that takes the place of the old one when it is complete.

    Temporary file, fsync, rename, fsync of the folder: a crash at any moment leaves the old file
    or the new one. Every method raises OSError, for example when the disk is full; the old file
    is then untouched and no temporary file is left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')

    def write(self, *parts: bytes | memoryview) -> None:
        """Write the content to the temporary file; none of the parts is copied."""
        try:
            with self.temporary.open('wb') as file:
                for part in parts:
                    file.write(part)
        except OSError:
            self.discard()
            raise

    def append(self, part: bytes) -> None:
        """Write more behind what was written."""
        try:
            with self.temporary.open('ab') as file:
                file.write(part)
        except OSError:
            self.discard()
            raise

    def commit(self) -> None:
        """Put what was written in the old file's place."""
        try:
            _sync(self.temporary, os.O_RDWR)
            self.temporary.replace(self.path)
        except OSError:
            self.discard()
            raise
        _sync(self.path.parent, os.O_RDONLY)

    def discard(self) -> None:
        """Remove the temporary file."""
        self.temporary.unlink(missing_ok=True)


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """
    Replace a file so that a crash at any moment leaves the old one or the new one.

    :param parts: the content, one behind the other; none of them is copied.
    :raises OSError: if it cannot be written; see AtomicFile.
    """
    file = AtomicFile(path)
    file.write(*parts)
    file.commit()


def sweep(folder: Path, pattern: str) -> None:
    """
    Remove temporary files that a killed process left.

    :param pattern: glob of the names of the files that they would have become.
    """
    for left in folder.glob(f'.{pattern}.*.part'):
        left.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
