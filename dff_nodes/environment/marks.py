# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Marks that say which steps of the set-up are finished, so that it can be resumed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def digest(*parts: object) -> str:
    """Return one digest of texts and of the contents of files (given as Path)."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else str(part).encode()
        # The length keeps ('ab', 'c') and ('a', 'bc') apart.
        total.update(f'{len(content)}:'.encode())
        total.update(content)
    return total.hexdigest()


class Marks:
    """A folder of marks: `NAME.begun` while a step runs, `NAME.done` with its digest after it.

    A step counts as done only by a mark that was written after it with the digest of its inputs
    of now. A `begun` without `done` means that the step was cut off (power, SIGKILL).
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def is_done(self, name: str, inputs: str) -> bool:
        """Whether the step is finished, with these inputs."""
        return self._read(f'{name}.done') == inputs

    def was_cut_off(self, name: str) -> bool:
        """Whether the step was begun and neither finished nor failed cleanly."""
        return self._path(f'{name}.begun').exists()

    def begin(self, name: str) -> None:
        """Note that the step is being worked on: it is not done any more."""
        self._write(f'{name}.begun', '')
        self._path(f'{name}.done').unlink(missing_ok=True)

    def finish(self, name: str, inputs: str) -> None:
        """Note that the step is finished."""
        self._write(f'{name}.done', inputs)
        self._path(f'{name}.begun').unlink(missing_ok=True)

    def fail(self, name: str) -> None:
        """Note that the step failed cleanly: what it runs left nothing half-made."""
        self._path(f'{name}.begun').unlink(missing_ok=True)

    def note(self, name: str, text: str) -> None:
        """Keep a line beside the marks."""
        self._write(f'{name}.note', text)

    def noted(self, name: str) -> str | None:
        """Return a line that was kept, or None."""
        return self._read(f'{name}.note')

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _read(self, name: str) -> str | None:
        try:
            return self._path(name).read_text(encoding='utf-8').strip()
        except OSError:
            return None

    def _write(self, name: str, text: str) -> None:
        write_whole(self._path(name), text + '\n')


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of it or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f'.{path.name}.{os.getpid()}')
    scratch.write_text(text, encoding='utf-8')
    os.replace(scratch, path)
