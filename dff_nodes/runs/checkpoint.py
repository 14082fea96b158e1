# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of one layer: written whole, checked by digest, the newest kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dff_nodes.runs.atomic import AtomicFile, sweep
from dff_nodes.runs.fault_points import FaultPoint, reach

KEPT = 2
DIGEST_BYTES = 32
DTYPE_NAMES = {torch.float32: 'F32', torch.float16: 'F16', torch.int64: 'I64', torch.uint8: 'U8'}
"""of safetensors"""


class CheckpointError(ValueError):
    """A checkpoint that is torn, of another run, or not there; the message says which."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint belongs to."""

    run_id: str
    config_hash: str
    layer: int
    next_item: int
    """first item that the state does not include"""
    incarnation: int
    scored: int = 0
    """class scores that the layer has sent until then"""
    applied: str = ''
    """digest of the items that the state includes, see LayerWorker"""


class UnfinishedCheckpoint:
    """
    A checkpoint whose tensors are written, but not yet durable.

    Writing needs the tensors as they are and is quick, as the system only buffers; what takes
    long, `finish`, needs them no more and can run beside the next training step.
    """

    def __init__(self, info: CheckpointInfo, path: Path) -> None:
        self.info = info
        self._file = AtomicFile(path)

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Write the tensors; raises OSError and leaves nothing if they cannot be written."""
        self._file.write(bytes(DIGEST_BYTES), *_safetensors(self.info, tensors))

    def finish(self) -> CheckpointInfo:
        """Add the digest and put the checkpoint in its place, durably; raises OSError."""
        reach(FaultPoint.IN_CHECKPOINT)
        try:
            with self._file.temporary.open('r+b') as file:
                digest = _digest_behind_head(file)
                file.seek(0)
                file.write(digest)
        except OSError:
            self._file.discard()
            raise
        reach(FaultPoint.BEFORE_RENAME)
        self._file.commit()
        reach(FaultPoint.AFTER_RENAME)
        return self.info


def _digest_behind_head(file: BinaryIO) -> bytes:
    """Digest of all that follows the place of the digest."""
    digest = hashlib.sha256()
    file.seek(DIGEST_BYTES)
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.digest()


class CheckpointStore:
    """
    Checkpoints of one layer in a folder: `layer_2-000001234.ckpt`.

    A file is a SHA-256 digest followed by a safetensors block, so that a torn, truncated or
    changed file is recognised before any of it is used.

    :param prefix: of the file names, for replicas.
    """

    def __init__(self, folder: Path, layer: int, prefix: str = '') -> None:
        self.folder = folder
        self.layer = layer
        self._stem = f'{prefix}layer_{layer}'

    def begin(self, info: CheckpointInfo, tensors: dict[str, Tensor]) -> UnfinishedCheckpoint:
        """Write a checkpoint that is there once it is finished; raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = UnfinishedCheckpoint(info, self.path(info.next_item))
        unfinished.write(tensors)
        return unfinished

    def save(self, info: CheckpointInfo, tensors: dict[str, Tensor]) -> Path:
        """
        Write a checkpoint whole and forget all but it and the one before it.

        :raises OSError: if it cannot be written; those that are there are kept then.
        """
        self.begin(info, tensors).finish()
        path = self.path(info.next_item)
        items = self.items()
        self.keep(items[max(0, items.index(info.next_item) + 1 - KEPT) :])
        return path

    def items(self) -> list[int]:
        """Items of all checkpoints, whole or not, oldest first."""
        return sorted(map(_item_of, self._paths()))

    def keep(self, items: Collection[int]) -> None:
        """Forget all checkpoints but those of some items."""
        for path in self._paths():
            if _item_of(path) not in items:
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process left; not while anything is being written."""
        sweep(self.folder, f'{self._stem}-*.ckpt')

    def valid(self, run_id: str, config_hash: str) -> tuple[list[CheckpointInfo], list[str]]:
        """
        Look for checkpoints of a run.

        :returns: those that are whole and of this run and layer, oldest first, and what is wrong
            with the others.
        """
        found, wrong = [], []
        for path in self._paths():
            try:
                found.append(self.check(path, _item_of(path), run_id, config_hash))
            except CheckpointError as error:
                wrong.append(str(error))
        return sorted(found, key=lambda info: info.next_item), wrong

    def load(
        self, item: int, run_id: str, config_hash: str
    ) -> tuple[CheckpointInfo, dict[str, Tensor]]:
        """
        Read the state before an item.

        :raises CheckpointError: if it is not there, torn, or belongs to something else.
        """
        path = self.path(item)
        info, tensors = read_checkpoint(path)
        _check_info(path, info, run_id, config_hash, self.layer, item)
        return info, tensors

    def check(self, path: Path, item: int, run_id: str, config_hash: str) -> CheckpointInfo:
        """Read what a file belongs to; raises CheckpointError unless it is whole and ours."""
        info = read_info(path)
        _check_info(path, info, run_id, config_hash, self.layer, item)
        return info

    def path(self, item: int) -> Path:
        """Name the file of an item's checkpoint."""
        return self.folder / f'{self._stem}-{item:09d}.ckpt'

    def _paths(self) -> list[Path]:
        pattern = re.compile(rf'{self._stem}-\d+\.ckpt')
        return [path for path in self.folder.glob('*.ckpt') if pattern.fullmatch(path.name)]


def _item_of(path: Path) -> int:
    return int(path.stem.rpartition('-')[2])


def _check_info(
    path: Path, info: CheckpointInfo, run_id: str, config_hash: str, layer: int, item: int
) -> None:
    """Raise CheckpointError if a checkpoint belongs to something else."""
    wanted = {'run_id': run_id, 'config_hash': config_hash, 'layer': layer, 'next_item': item}
    for name, value in wanted.items():
        found = getattr(info, name)
        if found != value:
            raise CheckpointError(f'{path} has {name} {found}, {value} is wanted')


def _safetensors(info: CheckpointInfo, tensors: dict[str, Tensor]) -> list[bytes | memoryview]:
    """
    Lay tensors out as safetensors does, without copying them.

    The library's own writer holds all tensors as bytes twice, which is more than the layer
    itself: a device that can just train it could not save it.
    """
    header: dict[str, object] = {'__metadata__': {'info': json.dumps(asdict(info))}}
    parts: list[bytes | memoryview] = []
    offset = 0
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        size = values.numel() * values.element_size()
        header[name] = {
            'dtype': DTYPE_NAMES[values.dtype],
            'shape': list(values.shape),
            'data_offsets': [offset, offset + size],
        }
        # A view that is empty cannot be cast.
        parts.append(memoryview(values.numpy().reshape(-1)).cast('B') if size else b'')
        offset += size
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    return [len(text).to_bytes(8, 'little') + text, *parts]


def read_info(path: Path) -> CheckpointInfo:
    """Check one file and read what it belongs to, without holding its tensors in memory."""
    try:
        with path.open('rb') as file:
            digest = file.read(DIGEST_BYTES)
            if _digest_behind_head(file) != digest:
                raise CheckpointError(f'{path} is torn or changed: its digest does not fit')
            file.seek(DIGEST_BYTES)
            length = int.from_bytes(file.read(8), 'little')
            return _info(path, file.read(min(length, path.stat().st_size)))
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}') from error


def pack(info: CheckpointInfo, tensors: dict[str, Tensor]) -> bytes:
    """Give the bytes of a checkpoint's file, for one that travels."""
    block = b''.join(_safetensors(info, tensors))
    return hashlib.sha256(block).digest() + block


def unpack(
    digest: bytes, block: bytes, source: object
) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """
    Check the bytes of a checkpoint and take them apart.

    :param digest: the first DIGEST_BYTES of them; `block` the others.
    :param source: where they come from, for the error.
    :raises CheckpointError: naming the source and what is wrong.
    """
    if hashlib.sha256(block).digest() != digest:
        raise CheckpointError(f'{source} is torn or changed: its digest does not fit')
    try:
        tensors = safetensors.torch.load(block)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f'{source} is not a checkpoint of a layer: {error}') from error
    length = int.from_bytes(block[:8], 'little')
    return _info(source, block[8 : 8 + length]), tensors


def read_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Read and check one file; raises CheckpointError naming it and what is wrong."""
    try:
        with path.open('rb') as file:
            digest = file.read(DIGEST_BYTES)
            block = file.read()
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}') from error
    return unpack(digest, block, path)


def _info(path: object, header: bytes) -> CheckpointInfo:
    """Read what a checkpoint belongs to out of the header of its safetensors block."""
    try:
        return CheckpointInfo(**json.loads(json.loads(header)['__metadata__']['info']))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{path} is not a checkpoint of a layer: {error}') from error
