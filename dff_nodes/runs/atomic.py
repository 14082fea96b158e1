# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Writes a file whole or not at all, and durably."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """
    Replace a file so that a crash at any moment leaves the old one or the new one.

    Temporary file, fsync, rename, fsync of the folder. Raises OSError, for example when the
    disk is full; the old file is then untouched and no temporary file is left.

    :param parts: the content, one behind the other; none of them is copied.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with temporary.open('wb') as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
