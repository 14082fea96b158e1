# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The training set in batches, in an order fixed by the seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import check_shift
from dff_nodes.seeds import generator

EPOCHS_KEPT = 2


@dataclass(frozen=True)
class Batch:
    """Samples of one batch, in memory of their own."""

    images: Tensor
    """uint8 or float32 [samples, *input_shape], shifted, not scaled"""
    labels: Tensor
    """int64 [samples]"""
    samples: Tensor
    """int64 [samples]: which of the training set these are"""


class Batches:
    """Gives any batch of any epoch; every sample comes exactly once an epoch.

    A batch is a pure function of (seed, epoch, index): the same whatever was asked for before,
    in whatever order, in whatever process. The last batch of an epoch holds what is left.

    :param shift_pixels: every image of a batch is moved by a whole number of pixels of its own,
        -shift_pixels to shift_pixels, down and right; what is uncovered is 0.
    :raises DataError: if the samples cannot be shifted that far.
    """

    def __init__(self, dataset: Dataset, batch_size: int, shift_pixels: int, seed: int) -> None:
        check_shift(dataset.facts, shift_pixels)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shift_pixels = shift_pixels
        self.seed = seed
        self._order = lru_cache(EPOCHS_KEPT)(self._draw_order)

    @property
    def per_epoch(self) -> int:
        """Batches of one epoch."""
        return -(-len(self.dataset.y_train) // self.batch_size)

    def batch(self, epoch: int, index: int) -> Batch:
        """Give one batch.

        :raises IndexError: if an epoch has no batch `index`.
        """
        if not 0 <= index < self.per_epoch:
            raise IndexError(f'an epoch has batches 0 to {self.per_epoch - 1}, got {index}')
        start = index * self.batch_size
        samples = self._order(epoch)[start : start + self.batch_size].clone()
        images = self.dataset.x_train.index_select(0, samples)
        if self.shift_pixels:
            images = shifted(images, self._draw_shifts(epoch, index, len(samples)))
        return Batch(images, self.dataset.y_train[samples], samples)

    def _draw_order(self, epoch: int) -> Tensor:
        """Draw the order of an epoch: int64 [train_samples]."""
        random = generator(self.seed, 'order', epoch)
        return torch.randperm(len(self.dataset.y_train), generator=random)

    def _draw_shifts(self, epoch: int, index: int, samples: int) -> Tensor:
        """Draw how far each image moves down and right: int64 [samples, 2]."""
        random = generator(self.seed, 'shift', epoch, index)
        most = self.shift_pixels
        return torch.randint(-most, most + 1, (samples, 2), generator=random)


def shifted(images: Tensor, shifts: Tensor) -> Tensor:
    """Move every image by whole pixels; what is uncovered is 0.

    :param images: [samples, height, width, channels].
    :param shifts: int64 [samples, 2], pixels down and right.
    :return: contiguous, as images.
    """
    samples, height, width, channels = images.shape
    margin = int(shifts.abs().max())
    padded = images.new_zeros((samples, height + 2 * margin, width + 2 * margin, channels))
    padded[:, margin : margin + height, margin : margin + width] = images
    # all windows of the padded images, a view: [samples, down, right, height, width, channels]
    windows = padded.unfold(1, height, 1).unfold(2, width, 1).movedim(3, -1)
    corner = margin - shifts
    return windows[torch.arange(samples), corner[:, 0], corner[:, 1]].contiguous()


def chunks(count: int, size: int) -> list[slice]:
    """Cut 0..count into slices of `size`; the last holds what is left."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
