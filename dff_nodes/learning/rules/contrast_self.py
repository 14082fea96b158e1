# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A sample with itself against a sample with another (SCFF 2409.11593); unsupervised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from dff_nodes.learning.rules.heads import ReadoutRule
from dff_nodes.learning.rules.local_rule import Step


class ContrastSelf(ReadoutRule):
    """
    See runs.rules.ContrastSelfRule.

    The pair [x, x'] goes through the same weights twice and is added, so the layer's map of
    x + x' is its goodness; the other sample is a neighbour in the batch, at a distance that
    changes with each step.
    """

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss."""
        samples = len(step.input)
        random = self.setting.random('distance', step.number)
        distance = int(torch.randint(1, max(2, samples), (), generator=random))
        others = step.input.roll(distance, 0)
        positive = self._goodness(step.body(step.input + step.input))
        negative = self._goodness(step.body(step.input + others))
        rule = self.setting.rule
        loss = softplus(rule.theta_positive - positive) + softplus(negative - rule.theta_negative)
        return loss.mean() + rule.penalty * positive.square().mean().sqrt()

    @staticmethod
    def _goodness(output: Tensor) -> Tensor:
        return relu(output).square().flatten(1).mean(1)

    def passed(self, output: Tensor) -> Tensor:
        """
        Standardise each sample, with the published triangle nonlinearity.

        Numbers below the sample's mean are silent, so that what passes on is sparse.
        """
        flat = output.flatten(1)
        above = relu(flat - flat.mean(1, keepdim=True))
        scale = above.square().mean(1, keepdim=True).sqrt() + 1e-6
        return (above / scale).view_as(output)
