# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""From the layers' class scores to a class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def combine(scores: list[Tensor], layers: Literal['all', 'without_first']) -> Tensor:
    """
    Add up the layers' scores, as Hinton does with or without the first hidden layer.

    :param scores: one float32 [samples, classes] per layer, first to last.
    """
    used = scores if layers == 'all' else scores[1:]
    total = used[0]
    for more in used[1:]:
        total = total + more
    return total


def correct(scores: Tensor, labels: Tensor) -> int:
    """Count the samples whose highest score is that of their true class."""
    return int((scores.argmax(1) == labels).sum())
