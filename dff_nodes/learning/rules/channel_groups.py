# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Goodness of one group of channels for each class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dff_nodes.learning.rules.heads import ReadoutRule
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import ChannelCompetitionRule

EPSILON = 1e-5


def in_groups(output: Tensor, classes: int) -> Tensor:
    """Neighbouring channels are a group: [samples, classes, channels of one * pixels]."""
    if output.dim() == 2:
        return output.unflatten(1, (classes, -1))
    return output.unflatten(1, (classes, output.shape[1] // classes)).flatten(2)


def mean_squares(output: Tensor, classes: int) -> Tensor:
    """Goodness of each group: float32 [samples, classes]."""
    return in_groups(output, classes).square().mean(2)


def channel_competition(setting: Setting[ChannelCompetitionRule]) -> LocalRule:
    """See runs.rules.ChannelCompetitionRule."""
    if setting.rule.predictor == 'softmax':
        return ReadCompetition(setting)
    return ChannelCompetition(setting)


class _ChannelGroups(LocalRule):
    """Cross-entropy over the goodness of the groups, which answer by it."""

    def goodness(self, output: Tensor) -> Tensor:
        """Give the goodness of each group, float32 [samples, classes]."""
        raise NotImplementedError

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        groups = self.goodness(step.output)
        return cross_entropy(groups, step.labels), groups.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self.goodness(output).log_softmax(1)


class ChannelCompetition(_ChannelGroups):
    """See channel_competition."""

    def goodness(self, output: Tensor) -> Tensor:
        """See _ChannelGroups.goodness."""
        return mean_squares(output, self.setting.classes)


class ReadCompetition(ReadoutRule):
    """Channels that compete as in ChannelCompetition, and a read-out that answers for them."""

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss."""
        return cross_entropy(mean_squares(step.output, self.setting.classes), step.labels)


class MeanGoodness(_ChannelGroups):
    """See runs.rules.MeanGoodnessRule."""

    def goodness(self, output: Tensor) -> Tensor:
        """Mean, so that units that are silent still have a gradient before their ReLU."""
        means = in_groups(output, self.setting.classes).mean(2)
        return means / self.setting.rule.temperature

    def passed(self, output: Tensor) -> Tensor:
        """Bring each group to mean 0 and variance 1, for every sample."""
        groups = in_groups(output, self.setting.classes)
        mean = groups.mean(2, keepdim=True)
        variance = groups.var(2, keepdim=True, unbiased=False)
        normal = (groups - mean) * torch.rsqrt(variance + EPSILON)
        return normal.view_as(output)
