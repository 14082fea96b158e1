# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The linear softmax read-out that a layer trains on its own activity."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dff_nodes.learning.optimizers import LearningRate, make_optimizer
from dff_nodes.runs.layers import GroupOptimizer
from dff_nodes.runs.learning_config import TrainingConfig


class Readout:
    """
    Class logits from one layer's normalised activity under the neutral label.

    Hinton's one-pass classifier (2022, section 3.3) cut into one linear map per layer: the
    logits of the layers are added, and no gradient leaves the read-out, not even into its
    own layer.
    """

    def __init__(
        self, units: int, classes: int, training: TrainingConfig, steps: int, device: torch.device
    ) -> None:
        self.linear = nn.Linear(units, classes, device=device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        rate = training.readout.learning_rate
        self.rate = LearningRate(training.learning_rate, rate, steps)
        self.optimizer = make_optimizer(
            GroupOptimizer(learning_rate=rate), dict(self.linear.named_parameters())
        )

    @torch.no_grad()
    def scores(self, activity: Tensor) -> Tensor:
        """Logits of every class: [rows, units] -> [rows, classes]."""
        return self.linear(activity)

    def train(self, activity: Tensor, labels: Tensor) -> Tensor:
        """
        Take one step on the cross-entropy; give the logits from before it.

        :param activity: float32 [rows, units], carries no gradient.
        :param labels: int64 [rows].
        """
        logits = self.linear(activity)
        cross_entropy(logits, labels).backward()
        self.optimizer.step(self.rate.at(self.optimizer.steps_done))
        return logits.detach()
