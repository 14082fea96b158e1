# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Peer normalisation: its value, its memory, and a gradient that reaches silent units."""

from __future__ import annotations

import pytest
import torch

from dff_nodes.learning.peer_normalization import PeerNormalization

CPU = torch.device('cpu')


def naive(mean: torch.Tensor, preactivation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the new running mean and the unweighted loss, from the formulas."""
    mean = 0.9 * mean + 0.1 * preactivation.relu().mean(0)
    return mean, ((mean.mean() - mean) ** 2).mean()


def test_loss_and_running_mean_follow_the_formula(random: torch.Generator) -> None:
    peers = PeerNormalization(0.03, 7, CPU)
    mean = torch.full((7,), 0.5, dtype=torch.float64)
    assert peers.mean_activity.tolist() == mean.tolist()
    for _ in range(5):
        preactivation = torch.randn(11, 7, generator=random)
        mean, loss = naive(mean, preactivation.double())
        assert peers.loss(preactivation).item() == pytest.approx(0.03 * loss.item(), rel=1e-5)
        assert torch.allclose(peers.mean_activity.double(), mean, rtol=1e-6)


def test_the_running_mean_carries_no_gradient(random: torch.Generator) -> None:
    peers = PeerNormalization(1.0, 4, CPU)
    for _ in range(2):
        preactivation = torch.randn(3, 4, generator=random, requires_grad=True)
        peers.loss(preactivation).backward()
        assert not peers.mean_activity.requires_grad
        assert preactivation.grad is not None


def test_the_gradient_is_not_gated_by_the_nonlinearity(random: torch.Generator) -> None:
    """Every row gets the gradient of its unit's mean, whether the unit was active or not."""
    preactivation = torch.randn(6, 5, generator=random, dtype=torch.float32)
    preactivation[:, 2] = -preactivation[:, 2].abs() - 0.1
    preactivation.requires_grad_()
    peers = PeerNormalization(0.7, 5, CPU)
    peers.loss(preactivation).backward()
    mean = (0.9 * 0.5 + 0.1 * preactivation.detach().double().relu().mean(0)).requires_grad_()
    (0.7 * ((mean.mean() - mean) ** 2).mean()).backward()
    each = (mean.grad * 0.1 / 6).expand(6, 5)
    assert torch.allclose(preactivation.grad.double(), each, rtol=1e-4, atol=1e-9)


def test_a_silent_unit_is_pulled_up() -> None:
    preactivation = torch.full((4, 3), 2.0)
    preactivation[:, 0] = -1.0
    preactivation.requires_grad_()
    PeerNormalization(0.03, 3, CPU).loss(preactivation).backward()
    assert bool((preactivation.grad[:, 0] < 0).all()), 'a descent step raises it'
    assert bool((preactivation.grad[:, 1:] > 0).all()), 'and lowers its peers'


def test_training_revives_a_silent_unit() -> None:
    weight = torch.tensor([[-1.0, 0.6, 0.5, 0.7]], requires_grad=True)
    rows = torch.ones(8, 1)
    peers = PeerNormalization(1.0, 4, CPU)
    optimizer = torch.optim.SGD([weight], 2.0)
    for _ in range(400):
        optimizer.zero_grad()
        peers.loss(rows @ weight).backward()
        optimizer.step()
    assert weight[0, 0].item() > 0
