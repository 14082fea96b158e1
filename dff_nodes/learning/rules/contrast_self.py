# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A sample with itself against a sample with another (SCFF 2409.11593); unsupervised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from dff_nodes.learning.inputs import standardized
from dff_nodes.learning.rules.heads import ReadoutRule
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import ContrastSelfRule


class ContrastSelf(ReadoutRule):
    """
    See runs.rules.ContrastSelfRule.

    The other sample is a neighbour in the batch, at a distance that changes with each step.
    """

    def __init__(self, setting: Setting[ContrastSelfRule]) -> None:
        super().__init__(setting)
        default = 'sum' if setting.index == 0 else 'standardized'
        self.pairs = setting.rule.pairs or default

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss; zero once the layer has stopped and its read-out learns on."""
        if not step.output.requires_grad:
            return step.output.new_zeros(())
        samples = len(step.input)
        random = self.setting.random('distance', step.number)
        distance = int(torch.randint(1, max(2, samples), (), generator=random))
        others = step.input.roll(distance, 0)
        if self.pairs == 'sum':
            # Of a linear map, rectified or not, twice that of the mean is that of the sum.
            positive, negative = 2 * step.output, 2 * step.again((step.input + others) / 2)
        else:
            # A sample and itself have the sample's direction, at the length of any other pair.
            positive = step.again(standardized(step.input))
            negative = step.again(standardized(step.input + others))
        above, below = _goodness(positive), _goodness(negative)
        rule = self.setting.rule
        loss = softplus(rule.theta_positive - above) + softplus(below - rule.theta_negative)
        return loss.mean() + rule.penalty * above.mean()

    def passed(self, output: Tensor) -> Tensor:
        """
        Give the published triangle nonlinearity of each sample, standardised.

        What is below the mean of all units, of maps that of all channels at the same pixel, is
        silent.
        """
        return standardized(relu(output - output.mean(1, keepdim=True)))


def _goodness(output: Tensor) -> Tensor:
    return relu(output).square().flatten(1).mean(1)
