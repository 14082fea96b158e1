# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Energies of patches of the maps, seen through a fixed random map (ASGE 2509.12394)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm

from dff_nodes.learning.rules.grid_average import GridAverage
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import SpatialGoodnessRule


class SpatialGoodness(LocalRule):
    """
    See runs.rules.SpatialGoodnessRule.

    The mean square of each patch rather than its sum, so that the loss does not depend on the
    size of the maps. What passes on is normalised over the channels of each pixel.
    """

    def __init__(self, setting: Setting[SpatialGoodnessRule]) -> None:
        super().__init__(setting)
        height, width, channels = setting.output_shape
        self.grid = min(height, setting.rule.patches), min(width, setting.rule.patches)
        energies = channels * self.grid[0] * self.grid[1]
        fixed = torch.empty(energies, setting.classes)
        fixed.normal_(0, 1 / math.sqrt(energies), generator=setting.random('fixed'))
        self.register_buffer('fixed', fixed, persistent=False)

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self._logits(step.output)
        return cross_entropy(logits, step.labels), logits.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self._logits(output).log_softmax(1)

    def _logits(self, output: Tensor) -> Tensor:
        energies = GridAverage.apply(output.square(), self.grid).flatten(1)
        return energies @ self.fixed

    def passed(self, output: Tensor) -> Tensor:
        """See LocalRule.passed."""
        pixels = output.permute(0, 2, 3, 1)
        return layer_norm(pixels, pixels.shape[3:]).permute(0, 3, 1, 2)
