# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Wrong classes: never the true one, and drawn as often as they should be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.learning.negatives import (
    FLOOR,
    adaptive_labels,
    hardest_labels,
    hybrid_images,
    random_labels,
    sampled_labels,
)
from dff_nodes.runs.config import Config

RARE = {1: 10.83, 2: 13.82, 3: 16.27, 8: 26.12}
"""degrees of freedom to the chi-square that chance exceeds once in 1000"""


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@settings(deadline=None, derandomize=True)
@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**63 - 1), st.integers(0, 99))
def test_random_labels_are_wrong_and_of_the_classes(
    classes: int, samples: int, seed: int, batch: int
) -> None:
    labels = torch.arange(samples) % classes
    wrong = random_labels(labels, classes, seed, 0, batch)
    assert wrong.shape == labels.shape
    assert wrong.dtype == torch.int64
    assert not bool((wrong == labels).any())
    assert 0 <= int(wrong.min()) <= int(wrong.max()) < classes
    assert torch.equal(wrong, random_labels(labels, classes, seed, 0, batch))


@pytest.mark.parametrize('true', [0, 3, 9])
def test_random_labels_are_all_alike(true: int) -> None:
    wrong = random_labels(torch.full((9000,), true), 10, 5)
    counts = torch.bincount(wrong, minlength=10)
    assert counts[true] == 0
    counts = counts[torch.arange(10) != true].double()
    assert chi_square(counts, torch.full((9,), 1000.0)) < RARE[8]


def test_random_labels_depend_on_seed_and_purpose() -> None:
    labels = torch.zeros(64, dtype=torch.int64)
    drawn = [
        random_labels(labels, 10, *purpose)
        for purpose in ((0, 0, 1), (0, 1, 0), (0, 0, 11), (1, 0, 1), (0, 'fixed'))
    ]
    for index, one in enumerate(drawn):
        for other in drawn[index + 1 :]:
            assert int((one == other).sum()) < 32


def test_hardest_labels_are_the_highest_wrong_ones(random: torch.Generator) -> None:
    scores = torch.randn(200, 6, generator=random)
    labels = torch.randint(0, 6, (200,), generator=random)
    wrong = hardest_labels(scores, labels)
    for row, (true, found) in enumerate(zip(labels.tolist(), wrong.tolist(), strict=True)):
        others = [score for label, score in enumerate(scores[row].tolist()) if label != true]
        assert found != true
        assert scores[row, found].item() == max(others)


def test_hardest_labels_are_wrong_even_where_all_else_is_hopeless() -> None:
    scores = torch.tensor([[1e30, -3e38], [-3e38, 1e30]])
    assert hardest_labels(scores, torch.tensor([0, 1])).tolist() == [1, 0]


def test_scores_are_not_changed() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    labels = torch.tensor([2])
    hardest_labels(scores, labels)
    sampled_labels(scores, labels, 0)
    assert scores.tolist() == [[1.0, 2.0, 3.0]]


@settings(deadline=None, derandomize=True)
@given(
    st.integers(2, 8),
    st.lists(st.integers(0, 7), min_size=1, max_size=20),
    st.sampled_from([0.0, 1.0, 100.0, 1e6, 3e38]),
    st.integers(0, 1000),
)
def test_sampled_labels_are_wrong(classes: int, labels: list[int], size: float, seed: int) -> None:
    true = torch.tensor(labels) % classes
    random = torch.Generator().manual_seed(seed)
    scores = size * (2 * torch.rand(len(true), classes, generator=random) - 1)
    wrong = sampled_labels(scores, true, seed, 3, 4)
    assert wrong.shape == true.shape
    assert not bool((wrong == true).any())
    assert 0 <= int(wrong.min()) <= int(wrong.max()) < classes
    assert torch.equal(wrong, sampled_labels(scores, true, seed, 3, 4))


def test_sampled_labels_follow_the_softmax() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, 1.5, -1.0])
    labels = torch.full((20000,), 3)
    counts = torch.bincount(sampled_labels(scores.repeat(20000, 1), labels, 2), minlength=5)
    assert counts[3] == 0
    others = torch.tensor([0, 1, 2, 4])
    likely = scores.double().exp()[others]
    likely = likely / likely.sum()
    assert chi_square(counts[others].double(), 20000 * likely) < RARE[3]


@pytest.mark.parametrize(('layers', 'used'), [('all', 2), ('without_first', 1), ('last', 1)])
def test_adaptive_labels_follow_the_mean_of_the_layers_that_classify(
    layers: str, used: int
) -> None:
    sampled, hardest = (
        Config.model_validate(
            {
                'network': [{}, {}],
                'training': {'negatives': {'mode': 'adaptive', 'temperature': 0.5, 'pick': pick}},
                'classification': {'layers': layers},
            }
        )
        for pick in ('sample', 'hardest')
    )
    scores = list(torch.randn(2, 500, 6, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(500) % 6
    mean = torch.stack(scores[-used:]).mean(0) / 0.5
    wrong = adaptive_labels(scores, labels, sampled, 'chapter', 3)
    assert torch.equal(wrong, sampled_labels(mean, labels, sampled.seed, 'chapter', 3))
    assert torch.equal(adaptive_labels(scores, labels, hardest), hardest_labels(mean, labels))


def test_a_sure_network_still_meets_other_classes() -> None:
    scores = torch.tensor([200.0, 100.0, 0.0]).repeat(5000, 1)
    labels = torch.zeros(5000, dtype=torch.int64)
    counts = torch.bincount(sampled_labels(scores, labels, 0), minlength=3)
    assert FLOOR > 0
    assert counts[0] == 0
    assert chi_square(counts[1:].double(), torch.tensor([2500.0, 2500.0])) < RARE[1]


def test_hybrids_take_large_parts_of_two_images() -> None:
    images = torch.arange(1, 9, dtype=torch.uint8)[:, None, None, None].expand(8, 28, 28, 1)
    hybrids = hybrid_images(images, 0, 'test')
    assert hybrids.dtype == torch.uint8
    for image, hybrid in zip(images, hybrids, strict=True):
        parts = hybrid.unique().tolist()
        assert len(parts) == 2, 'of two images'
        assert int(image[0, 0, 0]) in parts
        same = (hybrid == image[0, 0, 0]).float().mean()
        assert 0.2 < same < 0.8
        steps = (hybrid[1:] != hybrid[:-1]).float().mean()
        assert steps < 0.15, 'in large regions, not pixel by pixel'
    assert torch.equal(hybrids, hybrid_images(images, 0, 'test'))
    assert not torch.equal(hybrids, hybrid_images(images, 1, 'test'))
