# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of a linear head on one layer, or at the end of a block of several."""

from __future__ import annotations

from torch import Tensor

from dff_nodes.learning.rules.heads import HeadedRule
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.rules import BlockSoftmaxRule


class SoftmaxHead(HeadedRule):
    """See runs.rules.SoftmaxHeadRule."""

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self.logits(step.output)
        return self.head_loss(logits, step), logits.log_softmax(1)


class BlockSoftmax(SoftmaxHead):
    """See runs.rules.BlockSoftmaxRule."""

    def __init__(self, setting: Setting[BlockSoftmaxRule]) -> None:
        super().__init__(setting)
        self.movement = setting.rule.movement
        if self.movement and setting.input_shape != setting.output_shape:
            raise ConfigError(
                f'network[{setting.index}].rule.movement must be 0 for a block that takes '
                f'{setting.input_shape} and gives {setting.output_shape}'
            )

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        loss, scores = super().loss(step)
        if self.movement:
            loss = loss + self.movement * (step.output - step.input).square().mean()
        return loss, scores
