# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Losses of a pair of goodnesses: high for the positive, low for the negative."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import silu, softplus

from dff_nodes.runs.rules import Rule, SwishRule, SymbaRule, ThresholdRule

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""(positive goodness [rows], negative goodness [rows]) -> scalar loss"""


def pair_loss(rule: Rule, units: int) -> PairLoss:
    """
    Make the loss of a rule for a layer of so many units.

    :raises TypeError: for a rule that is no two-stream rule.
    """
    if isinstance(rule, ThresholdRule):
        return _threshold(_theta(rule, units))
    if isinstance(rule, SymbaRule):
        return lambda positive, negative: softplus(-rule.alpha * (positive - negative)).mean()
    if isinstance(rule, SwishRule):
        return lambda positive, negative: silu(-rule.alpha * (positive - negative)).mean()
    raise TypeError(f'{type(rule).__name__} is not a two-stream rule')


def _theta(rule: ThresholdRule, units: int) -> float:
    """Hinton's code uses the number of units for the sum of squares, so 1 for their mean."""
    if rule.theta is not None:
        return rule.theta
    return float(units) if rule.goodness == 'sum' else 1.0


def _threshold(theta: float) -> PairLoss:
    def loss(positive: Tensor, negative: Tensor) -> Tensor:
        return (softplus(theta - positive) + softplus(negative - theta)).mean()

    return loss
