# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which wrong class a negative sample carries."""

from __future__ import annotations

import torch
from torch import Tensor

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
