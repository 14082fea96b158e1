# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Hinton's peer normalisation: pulls every unit's mean activity to that of its layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KEEP = 0.9
START = 0.5


class _UngatedReLU(torch.autograd.Function):
    """ReLU whose gradient passes everywhere, so that silent units can be revived."""

    @staticmethod
    def forward(context: Any, preactivation: Tensor) -> Tensor:
        return preactivation.clamp_min(0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


class PeerNormalization:
    """
    Loss weight * mean_j (mean(m) - m_j)^2 over the units' running mean activities m.

    m <- 0.9 m + 0.1 batch mean of the positive activities, starting at 0.5 (Hinton's
    ffcode, also in loeweX/Forward-Forward).
    """

    def __init__(self, weight: float, units: int, device: torch.device) -> None:
        self.weight = weight
        self.mean_activity = torch.full((units,), START, device=device)
        """float32 [units], part of the layer's state"""

    def loss(self, positive_preactivation: Tensor) -> Tensor:
        """
        Update the running mean and give the loss.

        :param positive_preactivation: [rows, units], or maps [rows, channels, height, width],
            whose channels are the units.
        """
        activity = _UngatedReLU.apply(positive_preactivation)
        if activity.dim() == 4:
            activity = activity.mean((2, 3))
        mean = KEEP * self.mean_activity + (1 - KEEP) * activity.mean(0)
        self.mean_activity = mean.detach()
        return self.weight * (mean.mean() - mean).square().mean()
