# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The course of the learning rate, and that optimizers are what their name says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dff_nodes.learning.optimizers import (
    LayerOptimizer,
    LearningRate,
    Optimizer,
    make_optimizer,
)
from dff_nodes.learning.precision import arithmetic
from dff_nodes.runs.layers import LearningRateConfig, OptimizerConfig

HIGHEST = 0.5
CONSTANT = {'warmup': 0.0, 'hold': 1.0}


def course(steps: int, **settings: Any) -> list[float]:
    rate = LearningRate(LearningRateConfig(**settings), HIGHEST, steps)
    return [rate.at(step) for step in range(steps)]


def test_rises_holds_and_falls() -> None:
    rates = course(100, warmup=0.1, hold=0.6, final=0.2)
    assert rates[:10] == pytest.approx([HIGHEST * (step + 0.5) / 10 for step in range(10)])
    assert rates[10:60] == [HIGHEST] * 50
    falls = [HIGHEST * (1 - 0.8 * (step + 0.5) / 40) for step in range(40)]
    assert rates[60:] == pytest.approx(falls)
    assert all(rate > 0 for rate in rates)


def test_falls_to_nothing_at_the_very_end() -> None:
    rates = course(1000, warmup=0.0, hold=0.0, final=0.0)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(HIGHEST * 0.0005)


def test_may_fall_as_a_cosine() -> None:
    rates = course(100, warmup=0.1, hold=0.6, final=0.2, fall='cosine')
    assert rates[:60] == course(100, warmup=0.1, hold=0.6, final=0.2)[:60]
    share = [(step + 0.5) / 40 for step in range(40)]
    wanted = [HIGHEST * (0.2 + 0.8 * (1 + math.cos(math.pi * each)) / 2) for each in share]
    assert rates[60:] == pytest.approx(wanted)


@pytest.mark.parametrize(
    'settings',
    [
        {'warmup': 0.0, 'hold': 1.0, 'final': 0.0},
        {'warmup': 0.0, 'hold': 0.3, 'final': 1.0},
        {'warmup': 0.0, 'hold': 0.0, 'final': 1.0},
    ],
    ids=str,
)
def test_may_be_constant(settings: dict[str, float]) -> None:
    assert course(50, **settings) == [HIGHEST] * 50


def test_may_rise_over_the_whole_run() -> None:
    assert course(4, warmup=1.0, hold=1.0) == pytest.approx([0.0625, 0.1875, 0.3125, 0.4375])


@pytest.mark.parametrize('steps', [1, 2, 3])
def test_is_positive_and_at_most_the_highest_in_short_runs(steps: int) -> None:
    assert all(0 < rate <= HIGHEST for rate in course(steps))


def test_stays_at_the_end_after_the_last_step() -> None:
    rate = LearningRate(LearningRateConfig(warmup=0, hold=0.5, final=0.1), HIGHEST, 10)
    assert rate.at(10) == rate.at(99) == pytest.approx(0.05)


def make(values: list[float], **config: Any) -> tuple[Optimizer, torch.nn.Parameter]:
    parameter = torch.nn.Parameter(torch.tensor(values))
    return make_optimizer(OptimizerConfig(**config), {'weight': parameter}), parameter


def stepped(gradients: list[float], rates: list[float], **config: Any) -> float:
    """Give where 2 goes with these gradients and learning rates."""
    optimizer, parameter = make([2.0], **config)
    for gradient, rate in zip(gradients, rates, strict=True):
        parameter.grad = torch.tensor([gradient])
        optimizer.step(rate)
        assert parameter.grad is None
    assert optimizer.steps_done == len(gradients)
    return parameter.item()


GRADIENTS = [1.0, -2.0, 0.5, 3.0]
RATES = [0.1, 0.2, 0.05, 0.1]


@pytest.mark.parametrize('momentum', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('decay', [0.0, 0.01])
def test_sgd_has_momentum_and_weight_decay(momentum: float, decay: float) -> None:
    value, speed = 2.0, 0.0
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        speed = momentum * speed + gradient + decay * value
        value -= rate * speed
    found = stepped(GRADIENTS, RATES, name='sgd', momentum=momentum, weight_decay=decay)
    assert found == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize('decay', [0.0, 0.01])
def test_adam_is_adam(decay: float) -> None:
    value, first, second = 2.0, 0.0, 0.0
    for step, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        whole = gradient + decay * value
        first = 0.9 * first + 0.1 * whole
        second = 0.999 * second + 0.001 * whole**2
        slow = (second / (1 - 0.999**step)) ** 0.5 + 1e-8
        value -= rate * first / (1 - 0.9**step) / slow
    assert stepped(GRADIENTS, RATES, weight_decay=decay) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ('name', 'kind', 'settings'),
    [
        ('adam', torch.optim.Adam, {}),
        ('adamw', torch.optim.AdamW, {}),
        ('sgd', torch.optim.SGD, {'momentum': 0.0}),
        ('sgd', torch.optim.SGD, {'momentum': 0.9}),
        ('sgd', torch.optim.SGD, {'momentum': 0.9, 'nesterov': True}),
    ],
)
def test_steps_are_those_of_the_class_in_torch(
    name: str,
    kind: type[torch.optim.Optimizer],
    settings: dict[str, Any],
    random: torch.Generator,
) -> None:
    start = torch.randn(33, generator=random)
    optimizer, ours = make(start.tolist(), name=name, weight_decay=0.02, **settings)
    theirs = torch.nn.Parameter(start.clone())
    reference = kind([theirs], weight_decay=0.02, **settings)
    for rate in RATES:
        gradient = torch.randn(33, generator=random)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        reference.param_groups[0]['lr'] = rate
        optimizer.step(rate)
        reference.step()
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_each_group_has_its_own_optimizer_rate_and_course() -> None:
    config = OptimizerConfig(
        name='sgd',
        learning_rate=1.0,
        momentum=0.0,
        others={'name': 'sgd', 'learning_rate': 0.5, 'momentum': 0.0, 'course': CONSTANT},
        head={'name': 'adam', 'learning_rate': 0.25},
    )
    names = ('matrices', 'others', 'head')
    groups = {name: torch.nn.Parameter(torch.zeros(1)) for name in names}
    halved = LearningRateConfig(warmup=0, hold=0.5, final=0)
    optimizer = LayerOptimizer(config, halved, 4, *({name: groups[name]} for name in names))
    steps = []
    for _ in range(4):
        before = {name: each.item() for name, each in groups.items()}
        for each in groups.values():
            each.grad = torch.full((1,), 2.0)
        optimizer.step()
        steps.append([before[name] - groups[name].item() for name in names])
    factors = [1.0, 1.0, 0.75, 0.25]
    # Adam's steps are as long as its rate where the gradient never changes.
    wanted = [[2.0 * factor, 1.0, 0.25 * factor] for factor in factors]
    assert [each for step in steps for each in step] == pytest.approx(sum(wanted, []), rel=1e-5)


def test_what_is_no_matrix_has_the_course_of_muon_unless_it_says_another() -> None:
    config = OptimizerConfig(name='muon', learning_rate=0.05, course=CONSTANT)
    assert config.of_head == config.of_others
    assert (config.of_others.name, config.of_others.course) == ('adamw', config.course)


@pytest.mark.parametrize('name', ['adam', 'sgd'])
def test_the_state_carries_over(name: str) -> None:
    optimizer, parameter = make([1.0, 2.0], name=name)
    other, copy = make([0.0, 0.0], name=name)
    for gradient in ([1.0, -1.0], [0.5, 2.0]):
        parameter.grad = torch.tensor(gradient)
        optimizer.step(0.1)
    saved = {key: tensor.clone() for key, tensor in optimizer.state().items()}
    other.load_state(saved)
    copy.data.copy_(parameter.data)
    for each, of in ((optimizer, parameter), (other, copy)):
        of.grad = torch.tensor([3.0, -3.0])
        each.step(0.1)
    assert torch.equal(copy, parameter)
    assert other.steps_done == 3
    assert all(
        torch.equal(tensor, other.state()[key]) for key, tensor in optimizer.state().items()
    )
    fresh, _ = make([0.0, 0.0], name=name)
    fresh.load_state(saved)
    assert fresh.steps_done == 2, 'the saved state is not shared'
    assert all(torch.equal(tensor, fresh.state()[key]) for key, tensor in saved.items())


def spread(rows: int, columns: int, kind: str, random: torch.Generator) -> torch.Tensor:
    """Give a matrix whose singular values are near each other, far apart, or mostly 0."""
    matrix = torch.randn(rows, columns, generator=random)
    if kind == 'near':
        return matrix
    if kind == 'dead units':
        matrix[: rows // 2] = 0
        return matrix
    first, values, second = torch.linalg.svd(matrix, full_matrices=False)
    return first * (values * torch.logspace(0, -3, len(values))) @ second


@pytest.mark.parametrize('kind', ['near', 'far', 'dead units'])
@pytest.mark.parametrize('shape', [(24, 24), (20, 300), (300, 20), (16, 8, 3, 3)], ids=str)
@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16], ids=str)
def test_muon_makes_the_momentum_orthogonal(
    shape: tuple[int, ...], kind: str, precision: torch.dtype, random: torch.Generator
) -> None:
    gradient = spread(shape[0], math.prod(shape[1:]), kind, random)
    x = gradient.double() / gradient.norm()
    for _ in range(4):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    weight = torch.nn.Parameter(torch.ones(shape))
    optimizer = make_optimizer(OptimizerConfig(name='muon'), {'weight': weight})
    weight.grad = gradient.reshape(shape)
    with arithmetic(precision, weight.device):
        optimizer.step(1.0)
    norm = shape[0] ** 0.5
    before = torch.full(shape, norm / math.prod(shape) ** 0.5)
    step = (before - weight.detach()).flatten(1)
    wanted = x * norm / x.norm()
    error = (step - wanted).norm() / norm
    assert error < (1e-4 if precision == torch.float32 else 0.06)
