# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Thresholds save what can be saved within the allowed loss, and the same ones every time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dff_nodes.learning.calibration import Measured, best_choice, choose

MACS = [100, 300, 600]
SAMPLES = 2000


def made_up(seed: int, noises: tuple[float, ...]) -> tuple[list[Tensor], Tensor]:
    """Draw scores of 4 classes at each depth, worse with more noise, and labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (SAMPLES,), generator=random)
    true = torch.nn.functional.one_hot(labels, 4).float()
    drawn = [noise * torch.randn(SAMPLES, 4, generator=random) for noise in noises]
    return [true + each for each in drawn], labels


def measured(noises: tuple[float, ...] = (0.35, 0.3, 0.2), kind: str = 'margin') -> Measured:
    return Measured.of(*made_up(0, noises), *made_up(1, noises), kind)


def test_more_may_be_saved_where_more_may_be_lost() -> None:
    choices = [choose(measured(), MACS, points) for points in (0.0, 0.2, 1.0, 5.0)]
    saved = [each.point.macs_saved for each in choices]
    assert saved == sorted(saved)
    assert saved[0] < saved[-1]
    for points, each in zip((0.0, 0.2, 1.0, 5.0), choices, strict=True):
        assert each.point.loss <= each.point.cautious_loss <= points / 100 + 1e-9


def test_a_choice_does_what_it_says() -> None:
    data = measured()
    choice = choose(data, MACS, 1.0)
    for layer, (k, threshold) in enumerate(zip(choice.ks, choice.thresholds, strict=True)):
        assert threshold == pytest.approx(float(data.mean[layer] - k * data.deviation[layer]))
    first = data.confidence[0] >= choice.thresholds[0]
    second = ~first & (data.confidence[1] >= choice.thresholds[1])
    last = ~first & ~second
    counts = [int(each.sum()) for each in (first, second, last)]
    assert choice.point.answered == counts
    right = sum(
        int((each & data.right[depth]).sum()) for depth, each in enumerate((first, second, last))
    )
    assert choice.point.accuracy == pytest.approx(right / SAMPLES)
    done = (100 * counts[0] + 400 * counts[1] + 1000 * counts[2]) / SAMPLES
    assert choice.point.macs_saved == pytest.approx(1 - done / 1000)


def test_it_saves_at_least_what_one_k_for_all_layers_does() -> None:
    choice = choose(measured(), MACS, 0.5)
    allowed = [point for _, point in choice.curve if point.cautious_loss <= 0.005]
    assert choice.point.macs_saved >= max(point.macs_saved for point in allowed)


def test_a_layer_that_knows_nothing_answers_nothing() -> None:
    choice = choose(measured((50.0, 0.0, 0.0), 'margin'), MACS, 0.0)
    assert choice.point.answered[0] < SAMPLES / 20
    assert choice.point.answered[1] > 0.9 * SAMPLES


def test_nothing_is_chosen_where_nothing_is_allowed() -> None:
    data = measured((50.0, 50.0, 0.0))
    choice = choose(data, MACS, 0.0)
    assert choice.point.loss == 0
    assert choice.point.accuracy == 1


def test_the_choice_is_the_same_every_time() -> None:
    assert choose(measured(), MACS, 0.3) == choose(measured(), MACS, 0.3)


def test_equal_scores_can_be_measured() -> None:
    scores = [torch.ones(5, 3)] * 3
    labels = torch.zeros(5, dtype=torch.int64)
    choice = choose(Measured.of(scores, labels, scores, labels, 'score'), MACS, 0.0)
    assert choice.point.answered == [5, 0, 0]


def test_another_confidence_must_save_clearly_more() -> None:
    score, margin = (choose(measured(kind=kind), MACS, 0.5) for kind in ('score', 'margin'))
    assert best_choice([score, score]) is score
    assert best_choice([score, margin]) is margin
    assert margin.point.macs_saved > score.point.macs_saved + 0.01
