# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Losses against their formulas, gradients against finite differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from dff_nodes.learning.losses import pair_loss
from dff_nodes.runs.rules import Rule, SoftmaxHeadRule, SwishRule, SymbaRule, ThresholdRule

UNITS = 12


def softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def threshold(theta: float) -> Callable[[float, float], float]:
    return lambda positive, negative: softplus(theta - positive) + softplus(negative - theta)


def symba(alpha: float) -> Callable[[float, float], float]:
    return lambda positive, negative: softplus(-alpha * (positive - negative))


def swish(alpha: float) -> Callable[[float, float], float]:
    def loss(positive: float, negative: float) -> float:
        steep = -alpha * (positive - negative)
        return steep / (1 + math.exp(-steep))

    return loss


RULES = [
    (ThresholdRule(), threshold(UNITS)),
    (ThresholdRule(goodness='mean'), threshold(1.0)),
    (ThresholdRule(goodness='sum', theta=2.5), threshold(2.5)),
    (ThresholdRule(goodness='mean', theta=2.5), threshold(2.5)),
    (SymbaRule(), symba(4.0)),
    (SymbaRule(alpha=0.5, goodness='sum'), symba(0.5)),
    (SwishRule(), swish(6.0)),
    (SwishRule(alpha=1.25), swish(1.25)),
]


@pytest.fixture
def pairs(random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    positive = 3 * torch.rand(9, dtype=torch.float64, generator=random)
    negative = 3 * torch.rand(9, dtype=torch.float64, generator=random)
    return positive, negative


@pytest.mark.parametrize(('rule', 'formula'), RULES, ids=lambda value: str(value)[:40])
def test_the_loss_is_the_mean_of_its_formula(
    rule: Rule, formula: Callable[[float, float], float], pairs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    positive, negative = pairs
    exact = [formula(*pair) for pair in zip(positive.tolist(), negative.tolist(), strict=True)]
    loss = pair_loss(rule, UNITS)(positive, negative)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(math.fsum(exact) / len(exact), rel=1e-12)


@pytest.mark.parametrize('rule', [rule for rule, _ in RULES], ids=lambda rule: str(rule)[:40])
def test_the_gradient_is_that_of_finite_differences(
    rule: Rule, pairs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    positive, negative = (each.requires_grad_() for each in pairs)
    loss = pair_loss(rule, UNITS)
    loss(positive, negative).backward()
    step = 1e-5
    for of in (positive, negative):
        for row in range(len(of)):
            ahead, behind = of.detach().clone(), of.detach().clone()
            ahead[row] += step
            behind[row] -= step
            both = (ahead, negative) if of is positive else (positive, ahead)
            other = (behind, negative) if of is positive else (positive, behind)
            slope = (loss(*both) - loss(*other)).item() / (2 * step)
            assert of.grad[row].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize('rule', [ThresholdRule(), SymbaRule(), SwishRule()], ids=str)
def test_extreme_goodness_keeps_loss_and_gradient_finite(rule: Rule) -> None:
    for pair in ((1e6, 0.0), (0.0, 1e6), (1e6, 1e6), (0.0, 0.0)):
        positive, negative = (torch.tensor([each], requires_grad=True) for each in pair)
        loss = pair_loss(rule, UNITS)(positive, negative)
        loss.backward()
        assert bool(torch.isfinite(torch.stack([loss, *positive.grad, *negative.grad])).all())


def test_a_solved_pair_pulls_no_more_and_a_hopeless_one_with_all_its_slope() -> None:
    def pull(rule: Rule, *pair: float) -> float:
        positive, negative = (torch.tensor([each], requires_grad=True) for each in pair)
        pair_loss(rule, UNITS)(positive, negative).backward()
        assert positive.grad.item() == pytest.approx(-negative.grad.item())
        return -positive.grad.item()

    for rule in (SymbaRule(), SwishRule()):
        assert pull(rule, 9.0, 0.0) == pytest.approx(0, abs=1e-6)
        assert pull(rule, 0.0, 9.0) == pytest.approx(rule.alpha)
        assert pull(rule, 1.0, 1.0) == pytest.approx(rule.alpha / 2)


def test_swish_pulls_back_beyond_its_margin() -> None:
    """The minimum of silu(x) is at x = -1.2785: a better pair is not made better still."""
    loss = pair_loss(SwishRule(alpha=2.0), UNITS)
    margins = torch.linspace(0, 3, 3001, dtype=torch.float64)
    losses = torch.stack([loss(each[None], torch.zeros(1).double()) for each in margins])
    assert margins[losses.argmin()].item() == pytest.approx(1.2785 / 2, abs=1e-3)


def test_other_rules_are_refused() -> None:
    with pytest.raises(TypeError, match='SoftmaxHeadRule is not a two-stream rule'):
        pair_loss(SoftmaxHeadRule(), UNITS)
