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


def group_means(output: Tensor, classes: int) -> Tensor:
    """
    Average over groups of neighbouring channels: float32 [samples, classes].

    :param output: [samples, channels], or maps with their channels last in memory.
    """
    # Pixels first: channels of a group lie beside each other, and the maps stay as they lie.
    channels = output.mean((2, 3)) if output.dim() == 4 else output
    return channels.unflatten(1, (classes, -1)).mean(2)


def channel_competition(setting: Setting[ChannelCompetitionRule]) -> LocalRule:
    """See runs.rules.ChannelCompetitionRule."""
    if setting.rule.predictor == 'softmax':
        return ReadCompetition(setting)
    return ChannelCompetition(setting)


def competing_squares(output: Tensor, setting: Setting[ChannelCompetitionRule]) -> Tensor:
    """Mean squares of the groups over the temperature: float32 [samples, classes]."""
    return group_means(output.square(), setting.classes) / setting.rule.temperature


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
        return competing_squares(output, self.setting)


class ReadCompetition(ReadoutRule):
    """Channels that compete as in ChannelCompetition, and a read-out that answers for them."""

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss."""
        return cross_entropy(competing_squares(step.output, self.setting), step.labels)


class MeanGoodness(_ChannelGroups):
    """See runs.rules.MeanGoodnessRule."""

    def goodness(self, output: Tensor) -> Tensor:
        """Mean, so that units that are silent still have a gradient before their ReLU."""
        return group_means(output, self.setting.classes) / self.setting.rule.temperature

    def passed(self, output: Tensor) -> Tensor:
        """Bring each group to mean 0 and variance 1, for every sample."""
        groups = output.movedim(1, -1).unflatten(-1, (self.setting.classes, -1))
        own = [place for place in range(1, groups.dim()) if place != groups.dim() - 2]
        variance, mean = torch.var_mean(groups, own, correction=0, keepdim=True)
        normal = (groups - mean) * torch.rsqrt(variance + EPSILON)
        return normal.flatten(-2).movedim(-1, 1)
