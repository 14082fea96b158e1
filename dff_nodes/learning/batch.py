# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a layer works on: one batch of samples in one or two streams."""

from __future__ import annotations

from dataclasses import dataclass

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
    edges: Tensor | None = None
    """of a graph, whose nodes are the samples: int64 [edges, 2], each pair once, ascending"""

    @property
    def samples(self) -> int:
        """Number of samples, each counted once."""
        return self.positive.shape[0] // self.candidates
