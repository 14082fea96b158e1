# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What several rules have: features of an output, and linear class heads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dff_nodes.learning.rules.grid_average import GridAverage
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import HeadRule, head_features, head_grid


def flat_features(output: Tensor, setting: Setting[HeadRule]) -> Tensor:
    """Give an output as [samples, features]: maps averaged over the grid of the rule."""
    if output.dim() == 2:
        return output
    grid = head_grid(setting.output_shape, setting.rule.head_inputs)
    return GridAverage.apply(output, grid).flatten(1)


def zero_linear(features: int, classes: int) -> nn.Linear:
    """Make a linear class head that begins with no opinion."""
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class HeadedRule(LocalRule):
    """A rule whose class scores are the log-probabilities of a linear head."""

    def __init__(self, setting: Setting[HeadRule]) -> None:
        super().__init__(setting)
        features = head_features(setting.output_shape, setting.rule.head_inputs)
        self.head = zero_linear(features, setting.classes)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self.logits(output).log_softmax(1)

    def logits(self, output: Tensor) -> Tensor:
        """Give the head's answer, float32 [samples, classes]."""
        return self.head(flat_features(output, self.setting))

    def head_loss(self, logits: Tensor, step: Step) -> Tensor:
        """Cross-entropy of the head's answer."""
        smoothing = self.setting.rule.label_smoothing
        return cross_entropy(logits, step.labels, label_smoothing=smoothing)


class ReadoutRule(HeadedRule):
    """
    A rule whose layer learns without the head: that reads the classes out of what passes on.

    No gradient of the head reaches the layer.
    """

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self.logits(self.passed(step.output).detach())
        return self.own_loss(step) + self.head_loss(logits, step), logits.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self.logits(self.passed(output)).log_softmax(1)

    def own_loss(self, step: Step) -> Tensor:
        """Give what the layer itself minimises."""
        raise NotImplementedError
