# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Supervised contrastive learning inside one layer (Improved FFCL 2405.03432)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dff_nodes.learning.rules.heads import ReadoutRule, flat_features
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import ContrastiveRule, head_features


class Contrastive(ReadoutRule):
    """
    See runs.rules.ContrastiveRule.

    The loss is that of Khosla et al. (2004.11362, equation 2): for each sample the mean over
    the others of its class of -log softmax of the cosines to all others.
    """

    def __init__(self, setting: Setting[ContrastiveRule]) -> None:
        super().__init__(setting)
        features = head_features(setting.output_shape, setting.rule.head_inputs)
        self.projection = nn.Linear(features, setting.rule.projection, bias=False)
        with torch.no_grad():
            self.projection.weight.normal_(
                0, 1 / math.sqrt(features), generator=setting.random('projection')
            )

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss."""
        projected = self.projection(flat_features(step.output, self.setting))
        rows = normalize(projected, dim=1)
        itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        cosines = rows @ rows.T / self.setting.rule.temperature
        likely = cosines.masked_fill(itself, -torch.inf).log_softmax(1)
        same = (step.labels[:, None] == step.labels) & ~itself
        # A sample that is alone with its class says nothing.
        mean = likely.masked_fill(~same, 0).sum(1) / same.sum(1).clamp_min(1)
        return -mean.mean()

    def passed(self, output: Tensor) -> Tensor:
        """Bring every sample to root mean square 1."""
        flat = output.flatten(1)
        scale = flat.square().mean(1, keepdim=True).sqrt() + 1e-6
        return (flat / scale).view_as(output)
