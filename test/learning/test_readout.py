# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The read-out learns on its own activity, and its logits are those from before the step."""

from __future__ import annotations

import pytest
import torch

from dff_nodes.learning.readout import Readout
from dff_nodes.runs.layers import LearningRateConfig
from dff_nodes.runs.learning_config import ReadoutConfig, TrainingConfig

CPU = torch.device('cpu')


def readout(steps: int = 100, learning_rate: float = 0.05) -> Readout:
    training = TrainingConfig(
        readout=ReadoutConfig(learning_rate=learning_rate),
        learning_rate=LearningRateConfig(warmup=0, hold=1),
    )
    return Readout(6, 3, training, steps, CPU)


def test_begins_without_an_opinion(random: torch.Generator) -> None:
    activity = torch.randn(4, 6, generator=random)
    assert readout().scores(activity).tolist() == [[0.0] * 3] * 4


def test_trains_and_gives_the_logits_from_before_the_step(random: torch.Generator) -> None:
    prototypes = torch.randn(3, 6, generator=random)
    labels = torch.randint(0, 3, (60,), generator=random)
    activity = prototypes[labels] + 0.1 * torch.randn(60, 6, generator=random)
    model = readout()
    for step in range(50):
        before = model.scores(activity)
        logits = model.train(activity, labels)
        assert torch.equal(logits, before)
        assert not logits.requires_grad
        assert model.optimizer.steps_done == step + 1
    assert not torch.equal(model.scores(activity), before)
    assert bool((model.scores(activity).argmax(1) == labels).all())


def test_the_first_step_descends_the_cross_entropy() -> None:
    """Adam's first step is the learning rate against the sign of the gradient."""
    model = readout(learning_rate=0.01)
    activity = torch.tensor([[1.0, -2.0, 0.5, 3.0, -0.25, 1.0]])
    model.train(activity, torch.tensor([1]))
    towards = torch.tensor([[-1.0], [1.0], [-1.0]])
    assert torch.allclose(model.linear.weight, 0.01 * towards * activity.sign(), rtol=1e-3)
    assert torch.allclose(model.linear.bias, 0.01 * towards.squeeze(), rtol=1e-3)


def test_no_gradient_leaves_the_readout(random: torch.Generator) -> None:
    activity = torch.randn(4, 6, generator=random)
    readout().train(activity, torch.tensor([0, 1, 2, 0]))
    assert activity.grad is None


def test_follows_the_course_of_the_learning_rate() -> None:
    """Alike gradients make every step of Adam as long as its learning rate."""
    training = TrainingConfig(
        learning_rate=LearningRateConfig(warmup=0, hold=0, final=0),
        readout=ReadoutConfig(learning_rate=1e-6),
    )
    model = Readout(6, 3, training, 4, CPU)
    steps = []
    for _ in range(4):
        before = model.linear.bias[0].item()
        model.train(torch.ones(2, 6), torch.tensor([0, 0]))
        steps.append((model.linear.bias[0].item() - before) / 1e-6)
    assert steps == pytest.approx([0.875, 0.625, 0.375, 0.125], rel=1e-3)
