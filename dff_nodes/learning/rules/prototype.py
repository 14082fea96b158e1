# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Cosines to learned unit-norm prototypes of the classes (hyperspherical FF 2605.00082)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from dff_nodes.learning.rules.heads import flat_features
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import PrototypeRule, head_features


class Prototype(LocalRule):
    """See runs.rules.PrototypeRule."""

    def __init__(self, setting: Setting[PrototypeRule]) -> None:
        super().__init__(setting)
        features = head_features(setting.output_shape, setting.rule.head_inputs)
        drawn = torch.randn(setting.classes, features, generator=setting.random('prototypes'))
        self.prototypes = nn.Parameter(normalize(drawn, dim=1))

    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """See LocalRule.loss."""
        logits = self._logits(step.output)
        smoothing = self.setting.rule.label_smoothing
        return cross_entropy(logits, step.labels, label_smoothing=smoothing), logits.log_softmax(1)

    def scores(self, output: Tensor) -> Tensor:
        """See LocalRule.scores."""
        return self._logits(output).log_softmax(1)

    def _logits(self, output: Tensor) -> Tensor:
        features = normalize(flat_features(output, self.setting), dim=1)
        cosines = features @ normalize(self.prototypes, dim=1).T
        return cosines / self.setting.rule.temperature

    def passed(self, output: Tensor) -> Tensor:
        """Put every sample on the sphere whose points have root mean square 1."""
        flat = output.flatten(1)
        scale = flat.square().mean(1, keepdim=True).sqrt() + 1e-6
        return (flat / scale).view_as(output)
