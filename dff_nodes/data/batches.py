# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The training set in batches, in an order fixed by the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import Augmentation, check_augmentation
from dff_nodes.seeds import generator

EPOCHS_KEPT = 2
PADDING = {'zero': 'zeros', 'edge': 'border', 'reflect': 'reflection'}
"""how grid_sample names what is uncovered"""


@dataclass(frozen=True)
class Batch:
    """Samples of one batch, in memory of their own."""

    images: Tensor
    """uint8 or float32 [samples, *input_shape], augmented, not scaled"""
    labels: Tensor
    """int64 [samples]"""
    samples: Tensor
    """int64 [samples]: which of the training set these are"""


class Batches:
    """Gives any batch of any epoch; every sample comes exactly once an epoch.

    A batch is a pure function of (seed, epoch, index): the same whatever was asked for before,
    in whatever order, in whatever process. The last batch of an epoch holds what is left.

    :param augmentation: what is done to every image of a batch, drawn anew for each.
    :raises DataError: if the samples cannot be shifted that far, or are no images.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, augmentation: Augmentation, seed: int
    ) -> None:
        check_augmentation(dataset.facts, augmentation)
        self.dataset = dataset
        self.batch_size = batch_size
        self.augmentation = augmentation
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
        samples = self.samples(epoch, index)
        images = self.dataset.x_train.index_select(0, samples)
        images = self._augmented(images, epoch, index)
        return Batch(images, self.dataset.y_train[samples], samples)

    def samples(self, epoch: int, index: int) -> Tensor:
        """Which samples a batch holds: int64 [samples], in memory of its own."""
        start = index * self.batch_size
        return self._order(epoch)[start : start + self.batch_size].clone()

    def _draw_order(self, epoch: int) -> Tensor:
        """Draw the order of an epoch: int64 [train_samples]."""
        random = generator(self.seed, 'order', epoch)
        return torch.randperm(len(self.dataset.y_train), generator=random)

    def _augmented(self, images: Tensor, epoch: int, index: int) -> Tensor:
        count, most = len(images), self.augmentation.shift_pixels
        if most:
            random = generator(self.seed, 'shift', epoch, index)
            shifts = torch.randint(-most, most + 1, (count, 2), generator=random)
            images = shifted(images, shifts, self.augmentation.shift_fill)
        if self.augmentation.rotate_degrees:
            random = generator(self.seed, 'rotate', epoch, index)
            shares = 2 * torch.rand(count, dtype=torch.float64, generator=random) - 1
            angles = shares * math.radians(self.augmentation.rotate_degrees)
            images = rotated(images, angles, self.augmentation.shift_fill)
        if self.augmentation.flip:
            random = generator(self.seed, 'flip', epoch, index)
            mirrored = torch.rand(count, generator=random) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        if self.augmentation.cutout_pixels:
            random = generator(self.seed, 'cutout', epoch, index)
            centres = torch.rand((count, 2), generator=random)
            images = cut_out(images, centres, self.augmentation.cutout_pixels)
        return images


def shifted(images: Tensor, shifts: Tensor, fill: str = 'zero') -> Tensor:
    """Move every image by whole pixels.

    :param images: [samples, height, width, channels].
    :param shifts: int64 [samples, 2], pixels down and right.
    :param fill: of what is uncovered: zero, edge (the outermost pixels) or reflect.
    :return: contiguous, as images.
    """
    samples, height, width, channels = images.shape
    margin = int(shifts.abs().max())
    rows, columns = (_around(size, margin, fill) for size in (height, width))
    padded = images[:, rows.clamp_min(0)][:, :, columns.clamp_min(0)]
    if fill == 'zero':
        padded[:, rows < 0] = 0
        padded[:, :, columns < 0] = 0
    # all windows of the padded images, a view: [samples, down, right, height, width, channels]
    windows = padded.unfold(1, height, 1).unfold(2, width, 1).movedim(3, -1)
    corner = margin - shifts
    return windows[torch.arange(samples), corner[:, 0], corner[:, 1]].contiguous()


def rotated(images: Tensor, angles: Tensor, fill: str = 'zero') -> Tensor:
    """Turn every image about its middle; what lies between pixels is interpolated bilinearly.

    :param images: [samples, height, width, channels].
    :param angles: float64 [samples], radians, anticlockwise.
    :param fill: of what is uncovered: zero, edge (the outermost pixels) or reflect.
    :return: contiguous, of the type of images, whose whole numbers are rounded.
    """
    height, width = images.shape[1:3]
    # In units of half a side, which are not alike where an image is no square.
    across, along = angles.sin() * height / width, angles.sin() * width / height
    middle = torch.zeros_like(angles)
    rows = (angles.cos(), -across, middle), (along, angles.cos(), middle)
    places = torch.stack([torch.stack(row, 1) for row in rows], 1).float()
    maps = images.permute(0, 3, 1, 2).float()
    grid = affine_grid(places, list(maps.shape), align_corners=False)
    turned = grid_sample(maps, grid, padding_mode=PADDING[fill], align_corners=False)
    if not images.is_floating_point():
        turned = turned.round()
    return turned.permute(0, 2, 3, 1).to(images.dtype).contiguous()


def _around(size: int, margin: int, fill: str) -> Tensor:
    """Which row (or column) stands at each place of a padded image; -1 where none does."""
    places = torch.arange(-margin, size + margin)
    if fill == 'edge':
        return places.clamp(0, size - 1)
    if fill == 'reflect':
        return (size - 1) - ((size - 1) - places.abs()).abs()
    return torch.where((places < 0) | (places >= size), -1, places)


def cut_out(images: Tensor, centres: Tensor, pixels: int) -> Tensor:
    """Set a square of every image to 0 (DeVries & Taylor 1708.04552).

    :param images: [samples, height, width, channels].
    :param centres: float [samples, 2], 0 to 1 of the height and the width.
    :param pixels: along each side of the square, which may reach over the edge.
    """
    inside = []
    for axis, size in enumerate(images.shape[1:3]):
        first = (centres[:, axis] * size).floor() - pixels // 2
        place = torch.arange(size) - first[:, None]
        inside.append((place >= 0) & (place < pixels))
    square = inside[0][:, :, None] & inside[1][:, None, :]
    return images.masked_fill(square[..., None], 0)


def chunks(count: int, size: int) -> list[slice]:
    """Cut 0..count into slices of `size`; the last holds what is left."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
