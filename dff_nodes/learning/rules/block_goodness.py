# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Goodness of an auxiliary channel for each class (Scalable Forward-Forward 2501.03176)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from dff_nodes.learning.convolution import Convolution
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import BlockGoodnessRule


class BlockGoodness(LocalRule):
    """See runs.rules.BlockGoodnessRule; -g_y + logsumexp(g) is the cross-entropy of g."""

    def __init__(self, setting: Setting[BlockGoodnessRule]) -> None:
        super().__init__(setting)
        channels, kernel = setting.output_shape[-1], setting.rule.kernel
        self.auxiliary: nn.Module
        if len(setting.output_shape) == 3:
            self.auxiliary = Convolution(channels, setting.classes, kernel, padding=kernel // 2)
        else:
            self.auxiliary = nn.Linear(channels, setting.classes)
        with torch.no_grad():
            weight = self.auxiliary.weight
            scale = 1 / math.sqrt(weight[0].numel())
            weight.normal_(0, scale, generator=setting.random('auxiliary'))
            self.auxiliary.bias.zero_()

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        goodness = self._goodness(step.output)
        return cross_entropy(goodness, step.labels), goodness.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self._goodness(output).log_softmax(1)

    def _goodness(self, output: Tensor) -> Tensor:
        squares = self.auxiliary(output).square()
        return squares.mean((2, 3)) if squares.dim() == 4 else squares

    def passed(self, output: Tensor) -> Tensor:
        """See LocalRule.passed."""
        return layer_norm(output, output.shape[1:])
