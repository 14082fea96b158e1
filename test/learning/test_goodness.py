# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Goodness and normalisation against their formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dff_nodes.learning.goodness import energy, goodness, normalize, rectify


@pytest.mark.parametrize('rows', [1, 7])
@pytest.mark.parametrize('units', [2, 33, 500])
def test_goodness_is_the_sum_or_mean_of_squares(
    rows: int, units: int, random: torch.Generator
) -> None:
    activity = torch.randn(rows, units, generator=random)
    exact = [math.fsum(float(value) ** 2 for value in row) for row in activity.double()]
    energies = energy(activity)
    assert goodness(energies, units, 'sum').tolist() == pytest.approx(exact, rel=1e-6)
    assert goodness(energies, units, 'mean').tolist() == pytest.approx(
        [each / units for each in exact], rel=1e-6
    )


def test_rectified_energy_and_its_gradient_are_those_of_the_formula(
    random: torch.Generator,
) -> None:
    preactivation = torch.randn(6, 11, generator=random, requires_grad=True)
    weights = torch.randn(6, generator=random)
    activity, energies = rectify(preactivation)
    (weights * energies).sum().backward()
    exact = preactivation.detach().double().requires_grad_()
    (weights.double() * exact.relu().square().sum(1)).sum().backward()
    assert torch.equal(activity, preactivation.detach().relu())
    assert not activity.requires_grad
    assert torch.allclose(energies.double(), exact.relu().square().sum(1), rtol=1e-6)
    assert torch.allclose(preactivation.grad.double(), exact.grad, rtol=1e-6)


def test_known_energies_change_nothing(random: torch.Generator) -> None:
    activity = torch.rand(4, 9, generator=random)
    assert torch.equal(normalize(activity), normalize(activity, energy(activity)))


def test_normalised_rows_have_root_mean_square_1(random: torch.Generator) -> None:
    activity = torch.randn(5, 40, generator=random) * torch.tensor([[1e-2], [1], [10], [1e3], [5]])
    normal = normalize(activity)
    exact = activity.double()
    exact = exact / (exact.square().mean(1, keepdim=True).sqrt() + 1e-6)
    assert torch.allclose(normal.double(), exact, rtol=1e-6)
    assert normal.double().square().mean(1).tolist() == pytest.approx([1] * 5, rel=3e-4)


def test_only_the_direction_passes_on(random: torch.Generator) -> None:
    activity = torch.rand(4, 20, generator=random) + 0.1
    assert torch.allclose(normalize(activity), normalize(1000 * activity), rtol=1e-4)
    assert not torch.allclose(normalize(activity), normalize(activity + 1), rtol=1e-2)


def test_a_silent_row_stays_silent() -> None:
    assert normalize(torch.zeros(2, 8)).tolist() == [[0.0] * 8] * 2


def test_the_activity_is_not_changed(random: torch.Generator) -> None:
    activity = torch.randn(3, 9, generator=random)
    before = activity.clone()
    normalize(activity)
    energy(activity)
    assert torch.equal(activity, before)
