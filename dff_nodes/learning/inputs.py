# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How what arrives at a layer becomes preactivations: images with a label, or activities."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.wire import from_wire


class Input(Protocol):
    """What a layer does with what it receives, before its nonlinearity."""

    features: int
    """inputs of the layer's linear map"""

    def pair(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """Preactivations of positives, then negatives: [2 * samples, units]."""

    def neutral(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """Preactivations under the neutral label: [samples, units]."""

    def candidates(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """Preactivations of every candidate class: [samples * candidates, units]."""


class ActivityInput:
    """Activities of the layer before: rows [features] of root mean square 1."""

    def __init__(self, features: int, device: torch.device) -> None:
        self.features = features
        self.device = device

    def pair(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive and batch.negative: [samples, features]."""
        return linear(self._owned(batch.positive, batch.negative))

    def neutral(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.neutral."""
        return linear(self._owned(batch.positive))

    candidates = neutral

    def _owned(self, *parts: Tensor) -> Tensor:
        """
        Copy what arrived into one float32 tensor.

        Always a copy: PyTorch's own memory is aligned alike in every process, a buffer of the
        middleware is not, and matrix products may round by alignment.
        """
        rows = sum(len(part) for part in parts)
        owned = torch.empty((rows, self.features), device=self.device)
        for part, space in zip(parts, owned.split([len(part) for part in parts]), strict=True):
            from_wire(part, space)
        return owned


class ImageInput:
    """
    Images in which a class is embedded as one-hot over the first inputs (Hinton 2022).

    Positive, negative, neutral and candidate inputs differ in these entries only, so the
    image's product with the weights is computed once and shared. The image and the label
    together are scaled to root mean square 1; a neutral label counts as one-hot in that, so
    that all versions of an image share one scale.
    """

    def __init__(
        self,
        pixels: int,
        classes: int,
        position: str,
        amplitude: float,
        neutral_share: float,
        full_pixel: float,
        device: torch.device,
    ) -> None:
        self.classes = classes
        self.prepend = position == 'prepend'
        self.features = pixels + classes if self.prepend else pixels
        self.amplitude = amplitude
        self.full_pixel = full_pixel
        self.device = device
        self.one_hot = torch.eye(classes, device=device)
        self.neutral_label = torch.full((1, classes), neutral_share, device=device)

    def pair(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive: images [samples, *shape]."""
        image, amplitude = self._image(linear, batch)
        labels = torch.cat((batch.labels, batch.negative_labels)).to(self.device)
        shown = self.one_hot[labels] * amplitude.repeat(2, 1)
        return image.repeat(2, 1) + self._label(linear, shown)

    def neutral(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.neutral."""
        image, amplitude = self._image(linear, batch)
        return image + self._label(linear, self.neutral_label * amplitude)

    def candidates(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.candidates; every class is tried on every image."""
        image, amplitude = self._image(linear, batch)
        label = self._label(linear, self.one_hot)
        tried = image[:, None] + amplitude[:, None] * label[None]
        return tried.flatten(0, 1)

    def _image(self, linear: nn.Linear, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the image's share of the preactivation [samples, units], amplitude [samples, 1]."""
        pixels = batch.positive.to(self.device, torch.float32).flatten(1) / self.full_pixel
        if self.prepend:
            pixels = torch.nn.functional.pad(pixels, (self.classes, 0))
        else:
            pixels[:, : self.classes] = 0
        energy = pixels.square().sum(1, keepdim=True) + self.amplitude**2
        scale = (self.features / energy).sqrt_()
        return linear(pixels.mul_(scale)), self.amplitude * scale

    def _label(self, linear: nn.Linear, shown: Tensor) -> Tensor:
        """Give the label's share of the preactivation: [rows, classes] -> [rows, units]."""
        return shown @ linear.weight[:, : self.classes].T
