# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which wrong class a negative sample carries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from dff_nodes.learning.classification import combine, used_scores
from dff_nodes.runs.config import Config
from dff_nodes.seeds import generator

FLOOR = 1e-4
"""added to every probability, so that a sure network still meets other classes"""


def random_labels(labels: Tensor, classes: int, seed: int, *purpose: str | int) -> Tensor:
    """
    Draw a wrong class for every sample, all wrong classes alike.

    :param labels: int64 [samples], the true classes.
    """
    draw = torch.randint(
        1, classes, labels.shape, generator=generator(seed, 'negatives', *purpose)
    )
    return (labels + draw) % classes


def adaptive_labels(
    scores: list[Tensor], labels: Tensor, config: Config, *purpose: str | int
) -> Tensor:
    """
    Choose a wrong class for every sample by the network's own scores, as training.negatives says.

    :param scores: float32 [samples, classes] of each layer, first to last.
    :param labels: int64 [samples], the true classes.
    """
    layers, negatives = config.classification.layers, config.training.negatives
    together = combine(scores, layers)
    if negatives.pick == 'hardest':
        return hardest_labels(together, labels)
    # Read-outs that learned the same say it once: the sum would be surer than each of them.
    together = together / (len(used_scores(scores, layers)) * negatives.temperature)
    return sampled_labels(together, labels, config.seed, *purpose)


def hardest_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """
    Take the wrong class with the highest score.

    :param scores: float32 [samples, classes].
    """
    return _without_truth(scores, labels, -torch.inf).argmax(1)


def sampled_labels(scores: Tensor, labels: Tensor, seed: int, *purpose: str | int) -> Tensor:
    """
    Sample a wrong class from the softmax of the scores (Hinton's hard negatives).

    :param scores: float32 [samples, classes].
    """
    likely = _without_truth(scores.softmax(1) + FLOOR, labels, 0.0)
    source = generator(seed, 'negatives', *purpose)
    return torch.multinomial(likely, 1, generator=source).squeeze(1)


def _without_truth(scores: Tensor, labels: Tensor, value: float) -> Tensor:
    return scores.scatter(1, labels[:, None], value)


def hybrid_images(images: Tensor, seed: int, *purpose: str | int) -> Tensor:
    """
    Put large parts of each image into another one (Hinton 2022, section 3.2).

    A mask of random bits is blurred with [1/4, 1/2, 1/4] in both directions until its regions are
    large, and cut at a half. Samples of features have no places that are near each other: there
    each feature is chosen alone.

    :param images: [samples, height, width, channels] or [samples, features], at least 2 samples
        for anything to mix.
    :returns: of the same shape and type.
    """
    source = generator(seed, 'hybrid', *purpose)
    distance = int(torch.randint(1, max(2, len(images)), (), generator=source))
    others = images.roll(distance, 0)
    mask = torch.rand(images.shape[:3] if images.dim() == 4 else images.shape, generator=source)
    if images.dim() == 4:
        mask = _blurred((mask < 0.5).float())[..., None]
    return torch.where(mask < 0.5, images, others)


def _blurred(bits: Tensor) -> Tensor:
    """Blur [samples, height, width] so that a region spans about a quarter of the image."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    maps = bits[:, None]
    for _ in range(max(1, bits.shape[1] // 4)):
        maps = conv2d(pad(maps, (0, 0, 1, 1), mode='replicate'), kernel.view(1, 1, 3, 1))
        maps = conv2d(pad(maps, (1, 1, 0, 0), mode='replicate'), kernel.view(1, 1, 1, 3))
    return maps[:, 0]
