# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of one layer: written whole, checked by digest, the newest two kept."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dff_nodes.runs.atomic import write_atomically

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


class CheckpointStore:
    """
    Checkpoints of one layer in a folder: `layer_2-000001234.ckpt`.

    A file is a SHA-256 digest followed by a safetensors block, so that a torn, truncated or
    changed file is recognised before any of it is used.
    """

    def __init__(self, folder: Path, layer: int) -> None:
        self.folder = folder
        self.layer = layer

    def save(self, info: CheckpointInfo, tensors: dict[str, Tensor]) -> Path:
        """
        Write a checkpoint and forget all but it and the one before it.

        :raises OSError: if it cannot be written; those that are there are kept then.
        """
        parts = _safetensors(info, tensors)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(info.next_item)
        write_atomically(path, digest.digest(), *parts)
        paths = self._paths()
        behind = paths.index(path) + 1
        # A run that fell back computes what was ahead of it again: only counting those up to
        # here as the newest keeps the one that it fell back to until there are two after it.
        for old in paths[behind:] + paths[: max(0, behind - KEPT)]:
            old.unlink(missing_ok=True)
        return path

    def valid_items(self, run_id: str | None = None) -> list[int]:
        """Items of all checkpoints that are whole (and of a run), oldest first."""
        items = []
        for path in self._paths():
            try:
                info, _ = read_checkpoint(path)
            except CheckpointError:
                continue
            if run_id is None or info.run_id == run_id:
                items.append(info.next_item)
        return items

    def load(self, item: int, run_id: str, config_hash: str) -> dict[str, Tensor]:
        """
        Read the state before an item.

        :raises CheckpointError: if it is not there, torn, or belongs to something else.
        """
        path = self._path(item)
        info, tensors = read_checkpoint(path)
        wanted = CheckpointInfo(run_id, config_hash, self.layer, item, info.incarnation)
        for name, value in asdict(wanted).items():
            found = getattr(info, name)
            if found != value:
                raise CheckpointError(f'{path} has {name} {found}, {value} is wanted')
        return tensors

    def _path(self, item: int) -> Path:
        return self.folder / f'layer_{self.layer}-{item:09d}.ckpt'

    def _paths(self) -> list[Path]:
        pattern = re.compile(rf'layer_{self.layer}-\d+\.ckpt')
        found = [path for path in self.folder.glob('*.ckpt') if pattern.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.stem.rpartition('-')[2]))


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


def read_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Read and check one file; raises CheckpointError naming it and what is wrong."""
    try:
        with path.open('rb') as file:
            digest = file.read(DIGEST_BYTES)
            block = file.read()
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}') from error
    if hashlib.sha256(block).digest() != digest:
        raise CheckpointError(f'{path} is torn or changed: its digest does not fit')
    try:
        tensors = safetensors.torch.load(block)
        length = int.from_bytes(block[:8], 'little')
        header = json.loads(block[8 : 8 + length])
        info = CheckpointInfo(**json.loads(header['__metadata__']['info']))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{path} is not a checkpoint of a layer: {error}') from error
    return info, tensors
