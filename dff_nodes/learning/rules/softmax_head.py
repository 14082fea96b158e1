# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of a class head on one layer, or at the end of a block of several."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import gelu

from dff_nodes.learning.body import batch_norm, draw_weights
from dff_nodes.learning.convolution import Convolution
from dff_nodes.learning.rules.grid_average import GridAverage
from dff_nodes.learning.rules.heads import HeadedRule, zero_linear
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import BlockSoftmaxRule, SoftmaxHeadRule


class HeadLossRule(HeadedRule):
    """A rule that minimises the cross-entropy of its head."""

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self.logits(step.output)
        return self.head_loss(logits, step), logits.log_softmax(1)


class SoftmaxHead(HeadLossRule):
    """See runs.rules.SoftmaxHeadRule."""

    def __init__(self, setting: Setting[SoftmaxHeadRule]) -> None:
        super().__init__(setting)
        self.hidden: HiddenLayer | None = None
        if setting.rule.hidden:
            self.hidden = HiddenLayer(setting)
            self.head = zero_linear(self.hidden.features, setting.classes)

    def logits(self, output: Tensor) -> Tensor:
        """See HeadedRule.logits."""
        if self.hidden is None:
            return super().logits(output)
        return self.head(self.hidden(output))


class HiddenLayer(nn.Module):
    """Between a layer and its head: a linear map, or a 3x3 convolution over the grid."""

    def __init__(self, setting: Setting[SoftmaxHeadRule]) -> None:
        super().__init__()
        self.setting = setting
        inputs, units = setting.output_shape[-1], setting.rule.hidden
        shape = setting.rule.hidden_shape(setting.output_shape)
        self.features = math.prod(shape)
        self.grid: tuple[int, int] | None = None
        self.map: nn.Module
        if len(shape) == 3:
            self.grid = shape[:2]
            self.map = Convolution(inputs, units, 3, padding=1, bias=False)
        else:
            self.map = nn.Linear(inputs, units, bias=False)
        self.norm = batch_norm(units, maps=self.grid is not None)
        draw_weights(self, 'kaiming', setting.seed, setting.index, 'hidden')

    def forward(self, output: Tensor) -> Tensor:
        """Give what the head sees: float32 [samples, features]."""
        if self.grid is not None:
            output = GridAverage.apply(output, self.grid)
        return gelu(self.norm(self.setting.apply(self.map, output))).flatten(1)


class BlockSoftmax(HeadLossRule):
    """See runs.rules.BlockSoftmaxRule."""

    def __init__(self, setting: Setting[BlockSoftmaxRule]) -> None:
        super().__init__(setting)
        self.movement = setting.rule.movement

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        loss, scores = super().loss(step)
        if self.movement:
            loss = loss + self.movement * (step.output - step.input).square().mean()
        return loss, scores
