# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Cosines to one virtual node per class (ForwardGNN, single forward, 2403.11004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm, normalize, one_hot

from dff_nodes.learning.rules.graph_rule import GraphRule, GraphStep


class ClassNodes(GraphRule):
    """
    See runs.rules.ClassNodesRule.

    The virtual node of a class hears the mean of its training nodes, and says nothing: no label
    reaches a node through it. A training node is compared with the virtual node of its own class
    as the *other* nodes make it, or it would find itself there, which no test node does. So a
    node's class is a secret from its own scores, and training and inference are the same.
    """

    def loss(self, step: GraphStep) -> tuple[Tensor, Tensor]:
        """See GraphRule.loss."""
        logits = self._known_logits(step, normalize(step.output[step.known], dim=1))
        return cross_entropy(logits, step.labels), logits.softmax(1)

    def scores(self, step: GraphStep) -> Tensor:
        """See GraphRule.scores; probabilities, as published."""
        outputs = normalize(step.output, dim=1)
        classes, _ = self._virtual_nodes(step)
        logits = self._cosines(outputs, classes)
        logits[step.known] = self._known_logits(step, outputs[step.known])
        return logits.softmax(1)

    def passed(self, output: Tensor) -> Tensor:
        """Normalise every node over its units, so that its length tells the next layer nothing."""
        return layer_norm(output, output.shape[1:])

    def _known_logits(self, step: GraphStep, outputs: Tensor) -> Tensor:
        """Logits of the training nodes, each without its own part in the virtual nodes."""
        classes, own = self._virtual_nodes(step)
        to_own = (outputs * normalize(own, dim=1)).sum(1, keepdim=True)
        is_own = one_hot(step.labels, self.setting.classes).bool()
        logits = self._cosines(outputs, classes)
        return torch.where(is_own, to_own / self.setting.rule.temperature, logits)

    def _cosines(self, outputs: Tensor, classes: Tensor) -> Tensor:
        return outputs @ normalize(classes, dim=1).T / self.setting.rule.temperature

    def _virtual_nodes(self, step: GraphStep) -> tuple[Tensor, Tensor]:
        """
        Make the virtual nodes of all classes, and of each training node's class without it.

        :returns: float32 [classes, units], and [training nodes, units].
        """
        members = one_hot(step.labels, self.setting.classes).float()
        said = step.said[step.known]
        # A matrix product adds up in a fixed order, which scattered additions need not.
        totals, counts = members.T @ said, members.sum(0)[:, None]
        others = (totals[step.labels] - said) / (counts[step.labels] - 1)
        return step.body.made_of(totals / counts), step.body.made_of(others)
