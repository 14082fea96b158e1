# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How what arrives at a layer becomes preactivations: images with a label, or activities."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.goodness import normalize
from dff_nodes.learning.wire import from_wire
from dff_nodes.runs.layers import ConvolutionLayer
from dff_nodes.runs.resolve import ResolvedRun


class Input(Protocol):
    """What a layer does with what it receives, before its nonlinearity."""

    def pair(self, linear: nn.Module, batch: Batch) -> Tensor:
        """Preactivations of positives, then negatives: [2 * samples, ...]."""

    def neutral(self, linear: nn.Module, batch: Batch) -> Tensor:
        """Preactivations under the neutral label: [samples, ...]."""

    def candidates(self, linear: nn.Module, batch: Batch) -> Tensor:
        """Preactivations of every candidate class: [samples * candidates, ...]."""


def owned(parts: list[Tensor], device: torch.device) -> Tensor:
    """
    Copy what arrived into one float32 tensor [rows, ...].

    Always a copy: PyTorch's own memory is aligned alike in every process, a buffer of the
    middleware is not, and matrix products may round by alignment.

    :param parts: what `to_wire` gave, [rows, ...], all alike in shape but for the rows.
    """
    rows = [len(part) for part in parts]
    copied = torch.empty((sum(rows), *parts[0].shape[1:]), device=device)
    for part, space in zip(parts, copied.split(rows), strict=True):
        from_wire(part, space)
    return copied


def as_maps(rows: Tensor) -> Tensor:
    """View [rows, height, width, channels] as PyTorch has maps, channels last in memory."""
    return rows.permute(0, 3, 1, 2)


class Pixels:
    """
    Images as float32 on the device of a layer, from 0 to 1 or standardized.

    :param full: value of a full pixel.
    :param standardize: whether each image is brought to mean 0 and standard deviation 1.
    """

    def __init__(self, full: float, standardize: bool, device: torch.device) -> None:
        self.full = full
        self.standardize = standardize
        self.device = device

    def __call__(self, images: Tensor) -> Tensor:
        """[samples, *shape], both ways; never the images themselves."""
        pixels = images.to(self.device, torch.float32) / self.full
        return standardized(pixels) if self.standardize else pixels


def standardized(images: Tensor) -> Tensor:
    """Bring each image to mean 0 and standard deviation 1 over its numbers."""
    flat = images.flatten(1)
    deviation, mean = torch.std_mean(flat, 1, keepdim=True, correction=0)
    return ((flat - mean) / (deviation + 1e-6)).view_as(images)


class ActivityInput:
    """Activities of the layer before: rows of root mean square 1, features or maps."""

    def __init__(self, maps: bool, device: torch.device) -> None:
        self.maps = maps
        self.device = device

    def pair(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive and batch.negative: [samples, ...]."""
        return linear(self._shaped(owned([batch.positive, batch.negative], self.device)))

    def neutral(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.neutral."""
        return linear(self._shaped(owned([batch.positive], self.device)))

    candidates = neutral

    def _shaped(self, rows: Tensor) -> Tensor:
        return as_maps(rows) if self.maps else rows.flatten(1)


class PlainImageInput:
    """Images that show no class, scaled to root mean square 1; negatives are images too."""

    def __init__(self, maps: bool, pixels: Pixels) -> None:
        self.maps = maps
        self.pixels = pixels

    def pair(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive and batch.negative: images [samples, *shape]."""
        return linear(self._scaled(torch.cat((batch.positive, batch.negative))))

    def neutral(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.neutral: the image alone."""
        return linear(self._scaled(batch.positive))

    candidates = neutral

    def _scaled(self, images: Tensor) -> Tensor:
        rows = normalize(self.pixels(images))
        return as_maps(rows) if self.maps else rows.flatten(1)


class MapImageInput:
    """
    Images for a convolution, in which a class is embedded (see ImageInput).

    :param planes: whether every class has a channel of its own; else the class is shown in the
        first numbers of the image.
    """

    def __init__(
        self,
        classes: int,
        planes: bool,
        amplitude: float,
        neutral_share: float,
        pixels: Pixels,
    ) -> None:
        self.classes = classes
        self.planes = planes
        self.amplitude = amplitude
        self.pixels = pixels
        self.one_hot = torch.eye(classes, device=pixels.device)
        self.neutral_label = torch.full((1, classes), neutral_share, device=pixels.device)

    def pair(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive: images [samples, height, width, channels]."""
        labels = torch.cat((batch.labels, batch.negative_labels)).to(self.pixels.device)
        return linear(self._shown(batch.positive.repeat(2, 1, 1, 1), self.one_hot[labels]))

    def neutral(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.neutral."""
        labels = self.neutral_label.expand(len(batch.positive), -1)
        return linear(self._shown(batch.positive, labels))

    def candidates(self, linear: nn.Module, batch: Batch) -> Tensor:
        """See Input.candidates; every class is tried on every image."""
        images = batch.positive.repeat_interleave(self.classes, 0)
        return linear(self._shown(images, self.one_hot.repeat(len(batch.positive), 1)))

    def _shown(self, images: Tensor, labels: Tensor) -> Tensor:
        """
        Embed labels, and scale to root mean square 1 as if each were one-hot.

        :param labels: float32 [rows, classes].
        """
        pixels = self.pixels(images)
        rows, height, width, channels = pixels.shape
        places = 1
        if self.planes:
            places = height * width
            blank = labels.new_zeros(rows, height, width, self.classes)
            pixels = torch.cat((pixels, blank), 3)
        else:
            pixels.view(rows, -1)[:, : self.classes] = 0
        energy = pixels.square().sum((1, 2, 3)) + places * self.amplitude**2
        scale = (pixels[0].numel() / energy).sqrt_()
        if self.planes:
            pixels[..., channels:] = self.amplitude * labels[:, None, None]
        else:
            pixels.view(rows, -1)[:, : self.classes] = self.amplitude * labels
        return as_maps(pixels.mul_(scale[:, None, None, None]))


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
        features: int,
        classes: int,
        position: str,
        amplitude: float,
        neutral_share: float,
        pixels: Pixels,
    ) -> None:
        self.classes = classes
        self.prepend = position == 'prepend'
        self.features = features + classes if self.prepend else features
        self.amplitude = amplitude
        self.pixels = pixels
        self.one_hot = torch.eye(classes, device=pixels.device)
        self.neutral_label = torch.full((1, classes), neutral_share, device=pixels.device)

    def pair(self, linear: nn.Linear, batch: Batch) -> Tensor:
        """See Input.pair; batch.positive: images [samples, *shape]."""
        image, amplitude = self._image(linear, batch)
        labels = torch.cat((batch.labels, batch.negative_labels)).to(self.pixels.device)
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
        pixels = self.pixels(batch.positive).flatten(1)
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


def make_input(resolved: ResolvedRun, index: int, device: torch.device) -> Input:
    """Make the input of a two-stream layer."""
    maps = isinstance(resolved.layers[index].config, ConvolutionLayer)
    if index > 0:
        return ActivityInput(maps, device)
    label, facts = resolved.config.data.label, resolved.facts
    pixels = Pixels(facts.scale, resolved.config.data.standardize, device)
    if resolved.config.hybrid:
        return PlainImageInput(maps, pixels)
    neutral = resolved.config.training.readout.neutral
    if maps:
        return MapImageInput(
            facts.classes,
            label.position == 'planes',
            label.amplitude,
            neutral,
            pixels,
        )
    return ImageInput(
        facts.features,
        facts.classes,
        label.position,
        label.amplitude,
        neutral,
        pixels,
    )
