# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""From the layers' class scores to a class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Layers = Literal['all', 'without_first', 'last']


def used_scores(scores: list[Tensor], layers: Layers) -> list[Tensor]:
    """Take the scores of the layers that classify; as `combine`."""
    return {'all': scores, 'without_first': scores[1:], 'last': scores[-1:]}[layers]


def combine(scores: list[Tensor], layers: Layers) -> Tensor:
    """
    Add up the layers' scores, as Hinton does with or without the first hidden layer.

    The last layer alone is what the published local losses report.

    :param scores: one float32 [samples, classes] per layer, first to last.
    """
    used = used_scores(scores, layers)
    total = used[0]
    for more in used[1:]:
        total = total + more
    return total


def correct(scores: Tensor, labels: Tensor) -> int:
    """Count the samples whose highest score is that of their true class."""
    return int((scores.argmax(1) == labels).sum())
