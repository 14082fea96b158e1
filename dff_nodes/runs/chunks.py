# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in parts that fit a message, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dff_nodes.runs.atomic import AtomicFile
from dff_nodes.runs.checkpoint import CheckpointError, CheckpointStore
from dff_nodes.runs.segment import CHUNK_BYTES


class ChunkError(ValueError):
    """A part that does not fit; says what is wrong with it."""


@dataclass(frozen=True)
class Chunk:
    """A part of a checkpoint's file."""

    item: int
    offset: int
    total: int
    """size of the file; 0 ends a sequence of files"""
    data: bytes


END = Chunk(0, 0, 0, b'')


def chunks_of(path: Path, item: int) -> Iterator[Chunk]:
    """Give the parts of a checkpoint, in order; raises OSError if it cannot be read."""
    with path.open('rb') as file:
        total = path.stat().st_size
        while data := file.read(CHUNK_BYTES):
            yield Chunk(item, file.tell() - len(data), total, data)


class ChunkFile:
    """
    Puts the parts of checkpoints together, one file after the other.

    :param store: takes the complete checkpoints.
    :param largest: bytes that a checkpoint of this layer can have at most.
    """

    def __init__(
        self, store: CheckpointStore, largest: int, run_id: str, config_hash: str
    ) -> None:
        self.store = store
        self._largest = largest
        self._run = run_id, config_hash
        self._item = self._total = self._written = 0
        self._file: AtomicFile | None = None

    def check(self, chunk: Chunk) -> None:
        """Raise ChunkError for a part that no sender cuts, before it costs anything."""
        if chunk.total > self._largest:
            raise ChunkError(f'total is {chunk.total}, at most {self._largest} is right')
        least = 1 if chunk.total else 0
        if not least <= len(chunk.data) <= CHUNK_BYTES:
            raise ChunkError(
                f'data has {len(chunk.data)} bytes, {least} to {CHUNK_BYTES} is right'
            )
        if chunk.offset + len(chunk.data) > chunk.total:
            raise ChunkError(f'offset is {chunk.offset}, beyond the total of {chunk.total}')

    def add(self, chunk: Chunk) -> bool:
        """
        Write a part; give whether it was the last and the checkpoint is in the store now.

        :raises ChunkError: if it does not follow the part before, or the whole is no checkpoint.
        :raises OSError: if it cannot be written.
        """
        if chunk.offset == 0:
            self._begin(chunk)
        if (chunk.item, chunk.offset, chunk.total) != (self._item, self._written, self._total):
            raise ChunkError(
                f'the part of item {chunk.item} at {chunk.offset} does not follow that of item '
                f'{self._item} before {self._written}'
            )
        self._file.append(chunk.data)
        self._written += len(chunk.data)
        return self._written == self._total and self._complete()

    def discard(self) -> None:
        """Remove what there is of a file that is not complete."""
        if self._file is not None:
            self._file.discard()
        self._file = None
        self._item = self._total = self._written = 0

    def _begin(self, chunk: Chunk) -> None:
        self.discard()
        self.store.folder.mkdir(parents=True, exist_ok=True)
        self._item, self._total, self._written = chunk.item, chunk.total, 0
        self._file = AtomicFile(self.store.path(chunk.item))
        self._file.write()

    def _complete(self) -> bool:
        try:
            self.store.check(self._file.temporary, self._item, *self._run)
        except CheckpointError as error:
            self.discard()
            raise ChunkError(str(error)) from error
        self._file.commit()
        self._file = None
        return True
