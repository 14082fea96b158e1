# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Goodness of one group of channels for each class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dff_nodes.learning.rules.local_rule import LocalRule, Step

EPSILON = 1e-5


class _ChannelGroups(LocalRule):
    """Cross-entropy over the goodness of the groups."""

    def goodness(self, grouped: Tensor) -> Tensor:
        """Give the goodness of each group: [samples, classes, numbers] -> [samples, classes]."""
        raise NotImplementedError

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        groups = self.goodness(self._grouped(step.output))
        return cross_entropy(groups, step.labels), groups.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self.goodness(self._grouped(output)).log_softmax(1)

    def _grouped(self, output: Tensor) -> Tensor:
        """Neighbouring channels are a group: [samples, classes, channels of one * pixels]."""
        if output.dim() == 2:
            return output.unflatten(1, (self.setting.classes, -1))
        channels = output.shape[1] // self.setting.classes
        maps = output.unflatten(1, (self.setting.classes, channels))
        return maps.flatten(2)


class ChannelCompetition(_ChannelGroups):
    """See runs.rules.ChannelCompetitionRule."""

    def goodness(self, grouped: Tensor) -> Tensor:
        """Mean of squares."""
        return grouped.square().mean(2)


class MeanGoodness(_ChannelGroups):
    """See runs.rules.MeanGoodnessRule."""

    def goodness(self, grouped: Tensor) -> Tensor:
        """Mean, so that units that are silent still have a gradient before their ReLU."""
        return grouped.mean(2)

    def passed(self, output: Tensor) -> Tensor:
        """Bring each group to mean 0 and variance 1, for every sample."""
        groups = self._grouped(output)
        mean = groups.mean(2, keepdim=True)
        variance = groups.var(2, keepdim=True, unbiased=False)
        normal = (groups - mean) * torch.rsqrt(variance + EPSILON)
        return normal.view_as(output)
