# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A fixed convolution that decorrelates neighbouring pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, unfold

from dff_nodes.runs.shapes import WHITEN_PIXELS

EPSILON = 5e-4


class Whitening(nn.Module):
    """
    Patches of 2x2 pixels along their principal directions, each with variance 1.

    The filters and their negatives, so that a nonlinearity behind them loses no sign. They are
    computed from the first batch that is trained on, and are part of the layer's state.

    :param channels: of the images.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        super().__init__()
        size = channels * WHITEN_PIXELS**2
        shape = (2 * size, channels, WHITEN_PIXELS, WHITEN_PIXELS)
        self.register_buffer('weight', torch.zeros(shape, device=device))

    @property
    def ready(self) -> bool:
        """Whether the filters are there."""
        return bool(self.weight.any())

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the filters; images: float32 [samples, channels, height, width]."""
        patches = unfold(images.contiguous(), WHITEN_PIXELS).movedim(1, 2).flatten(0, 1)
        patches = patches - patches.mean(0)
        covariance = (patches.T @ patches / len(patches)).double()
        # The smallest variances are noise of the pixels' rounding: not to be blown up.
        values, directions = torch.linalg.eigh(covariance)
        filters = (directions / (values + EPSILON).sqrt()).T.float()
        filters = filters.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat((filters, -filters)))

    def forward(self, images: Tensor) -> Tensor:
        """[samples, channels, height, width] -> [samples, filters, height - 1, width - 1]."""
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return conv2d(images, weight)
