# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Prediction and similarity matching (Nokland & Eidnes 1901.06656)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize, one_hot

from dff_nodes.learning.convolution import Convolution
from dff_nodes.learning.rules.heads import HeadedRule
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import PredSimRule


class PredSim(HeadedRule):
    """See runs.rules.PredSimRule."""

    def __init__(self, setting: Setting[PredSimRule]) -> None:
        super().__init__(setting)
        units = setting.output_shape[-1]
        self.projection: nn.Module
        if len(setting.output_shape) == 3:
            self.projection = Convolution(units, units, 3, padding=1, bias=False)
        else:
            self.projection = nn.Linear(units, units, bias=False)
        with torch.no_grad():
            inputs = self.projection.weight[0].numel()
            self.projection.weight.normal_(
                0, 1 / math.sqrt(inputs), generator=setting.random('projection')
            )

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        beta = self.setting.rule.beta
        logits = self.logits(step.output)
        targets = one_hot(step.labels, self.setting.classes).float()
        matching = mse_loss(_similarities(self._summary(step.output)), _similarities(targets))
        return (1 - beta) * self.head_loss(logits, step) + beta * matching, logits.log_softmax(1)

    def _summary(self, output: Tensor) -> Tensor:
        """Features that are compared, [samples, units]: of maps the channels' deviations."""
        features = self.setting.apply(self.projection, output)
        if features.dim() == 2:
            return features
        # The root has no gradient at 0, where a channel is the same everywhere.
        return (features.flatten(2).var(2) + 1e-8).sqrt()


def _similarities(features: Tensor) -> Tensor:
    """Cosines between all centred rows: [samples, features] -> [samples, samples]."""
    centred = normalize(features - features.mean(1, keepdim=True), dim=1)
    return centred @ centred.T
