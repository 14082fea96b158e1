# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Predictors on random features, or on ones learned by direct feedback (CaFo 2303.09728)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dff_nodes.learning.rules.heads import HeadedRule
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import CascadeRule


class Cascade(HeadedRule):
    """See runs.rules.CascadeRule."""

    def __init__(self, setting: Setting[CascadeRule]) -> None:
        super().__init__(setting)
        self.trains_body = setting.rule.features == 'direct_feedback'
        if self.trains_body:
            outputs = math.prod(setting.output_shape)
            feedback = torch.empty(setting.classes, outputs)
            feedback.normal_(0, 1 / math.sqrt(outputs), generator=setting.random('feedback'))
            self.register_buffer('feedback', feedback, persistent=False)

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self.logits(step.output.detach())
        loss = self.head_loss(logits, step)
        if self.trains_body:
            # Linear in the output, so its gradient there is the error sent back through the
            # fixed matrix; the value is taken out again, as only the gradient is meant.
            error = logits.detach().softmax(1) - self._targets(step.labels)
            sent_back = error @ self.feedback / len(error)
            linear = (step.output.flatten(1) * sent_back).sum()
            loss = loss + linear - linear.detach()
        return loss, logits.softmax(1)

    def _targets(self, labels: Tensor) -> Tensor:
        """Give what the predictor is to answer, smoothed: float32 [samples, classes]."""
        classes, smoothing = self.setting.classes, self.setting.rule.label_smoothing
        return one_hot(labels, classes) * (1 - smoothing) + smoothing / classes

    def scores(self, output: Tensor) -> Tensor:
        """Probabilities, which the layers add up."""
        return self.logits(output).softmax(1)
