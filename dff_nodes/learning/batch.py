# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a layer works on: one batch of samples in one or two streams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """
    Samples on their way from one layer to the next.

    For layer 0 `positive` holds images and the labels say what to embed in them; behind it
    the rows are activities of root mean square 1.
    """

    positive: Tensor
    """[samples * candidates, *shape], uint8, float16 or float32"""
    negative: Tensor | None = None
    """[samples, *shape], None where no negative stream travels"""
    labels: Tensor | None = None
    """int64 [samples], true classes; of a graph UNLABELLED where no layer may know it"""
    negative_labels: Tensor | None = None
    """int64 [samples], wrong classes"""
    candidates: int = 1
    """rows of `positive` for each sample, sample by sample"""
    rows: Tensor | None = None
    """early exit: int64 [samples], positions within the item, ascending; None: all of it"""
    running: Tensor | None = None
    """early exit: float32 [samples, classes], scores of the layers before, where they add up"""
    edges: Tensor | None = None
    """of a graph, whose nodes are the samples: int64 [edges, 2], each pair once, ascending"""

    @property
    def samples(self) -> int:
        """Number of samples, each counted once."""
        return self.positive.shape[0] // self.candidates


def joined(batches: list[Batch]) -> Batch:
    """Put batches of the same kind one behind the other."""

    def whole(name: str) -> Tensor | None:
        parts = [getattr(each, name) for each in batches]
        return None if parts[0] is None else torch.cat(parts)

    return Batch(
        whole('positive'),
        whole('negative'),
        whole('labels'),
        whole('negative_labels'),
        batches[0].candidates,
    )


def picked(batches: list[Batch], places: Tensor) -> Batch:
    """
    Take samples out of batches of the same kind, one candidate each.

    :param places: int64 [samples], positions in all batches one behind the other; all but the
        last are equally long.
    """
    batch, place = places // batches[0].samples, places % batches[0].samples

    def rows(name: str) -> Tensor | None:
        parts = [getattr(each, name) for each in batches]
        if parts[0] is None:
            return None
        device = parts[0].device
        # index_select and index_copy_ copy whole rows, which indexing by a tensor does not.
        if len(parts) == 1:
            return parts[0].index_select(0, places.to(device))
        taken = parts[0].new_empty((len(places), *parts[0].shape[1:]))
        for index, part in enumerate(parts):
            here = (batch == index).nonzero().squeeze(1)
            rows_here = part.index_select(0, place[here].to(device))
            taken.index_copy_(0, here.to(device), rows_here)
        return taken

    return Batch(rows('positive'), rows('negative'), rows('labels'), rows('negative_labels'))


def parted(batch: Batch, samples: int) -> list[Batch]:
    """Cut a batch into views of at most so many samples, as before they were joined."""

    def cut(tensor: Tensor | None, start: int, rows: int) -> Tensor | None:
        return None if tensor is None else tensor[start * rows : (start + samples) * rows]

    return [
        Batch(
            cut(batch.positive, start, batch.candidates),
            cut(batch.negative, start, 1),
            cut(batch.labels, start, 1),
            cut(batch.negative_labels, start, 1),
            batch.candidates,
        )
        for start in range(0, batch.samples, samples)
    ]
