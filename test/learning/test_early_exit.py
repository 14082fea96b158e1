# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Who answers which sample, and that each is answered once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.classification import combine
from dff_nodes.learning.early_exit import (
    confidence,
    joined,
    make_early_exit,
    scores_so_far,
    true_confidence,
)
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import ResolvedRun, resolve

SCORES = torch.tensor([[1.0, 4.0, 2.0], [3.0, 3.0, 0.0], [9.0, 0.0, 1.0]])


def a_run(layers: str = 'all', **early_exit: Any) -> ResolvedRun:
    settings = {
        'network': [{'units': 5}] * 3,
        'training': {'batch_size': 6},
        'classification': {'layers': layers},
        'early_exit': {'thresholds': [3.5, None]} | early_exit,
    }
    facts = DataFacts((2, 2, 1), 3, 20, 8, 255.0, 'uint8')
    return resolve(Config.model_validate(settings), facts)


def test_confidence_needs_no_label() -> None:
    assert confidence(SCORES, 'score').tolist() == [4, 3, 9]
    assert confidence(SCORES, 'margin').tolist() == [2, 0, 8]


def test_confidence_in_the_true_class_may_be_negative() -> None:
    labels = torch.tensor([1, 0, 2])
    assert true_confidence(SCORES, labels, 'score').tolist() == [4, 3, 1]
    assert true_confidence(SCORES, labels, 'margin').tolist() == [2, 0, -8]


@pytest.mark.parametrize('layers', ['all', 'without_first', 'last'])
def test_at_the_last_layer_the_scores_are_those_of_the_whole_network(layers: str) -> None:
    each = list(torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0)))
    total = None
    for layer, scores in enumerate(each):
        total = scores_so_far(total, scores, layer, layers)
        if layer == 0:
            assert torch.equal(total, scores)
    assert torch.equal(total, combine(each, layers))


@pytest.mark.parametrize('layers', ['all', 'without_first', 'last'])
def test_what_goes_on_keeps_its_rows_its_place_and_its_sum(layers: str) -> None:
    first = make_early_exit(a_run(layers), 0)
    rows = torch.arange(9 * 5.0).view(9, 5)
    parted = first.part(Batch(torch.zeros(3, 2, 2, 1)), Batch(rows, candidates=3), SCORES)
    assert parted.rows.tolist() == [0, 2]
    assert torch.equal(parted.scores, SCORES[[0, 2]])
    assert parted.passed_on.rows.tolist() == [1]
    assert torch.equal(parted.passed_on.positive, rows[3:6])
    assert parted.passed_on.samples == 1
    assert (parted.passed_on.running is not None) == (layers == 'all')


def test_a_layer_without_threshold_answers_nothing_and_the_last_everything() -> None:
    run = a_run()
    arrived = Batch(
        torch.zeros(6, 5), candidates=3, rows=torch.tensor([1, 4]), running=torch.zeros(2, 3)
    )
    passed = Batch(torch.ones(6, 5), candidates=3)
    second = make_early_exit(run, 1).part(arrived, passed, SCORES[:2])
    assert second.rows.tolist() == []
    assert second.passed_on.rows.tolist() == [1, 4]
    assert torch.equal(second.passed_on.running, SCORES[:2])
    last = make_early_exit(run, 2).part(second.passed_on, passed, SCORES[:2])
    assert last.rows.tolist() == [1, 4]
    assert torch.equal(last.scores, 2 * SCORES[:2])
    assert last.passed_on.samples == 0


def test_an_empty_item_passes_on_empty() -> None:
    run = a_run()
    empty = make_early_exit(run, 0).nothing()
    assert empty.passed_on.samples == 0
    assert empty.passed_on.positive.shape == (0, 5)
    assert empty.passed_on.running.shape == (0, 3)
    assert empty.scores.shape == (0, 3)


def test_without_thresholds_there_is_no_exit() -> None:
    assert make_early_exit(a_run(thresholds=None), 0) is None


def test_answers_are_put_together() -> None:
    parts = [
        (torch.tensor([2]), SCORES[[2]]),
        (torch.tensor([], dtype=torch.int64), SCORES[:0]),
        (torch.tensor([0, 1]), SCORES[:2]),
    ]
    scores, answered_by = joined(parts, 3)
    assert torch.equal(scores, SCORES)
    assert answered_by.tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ('rows', 'reason'),
    [([0, 2], 'sample 1 was answered 0 times'), ([0, 1, 2, 2], 'sample 2 was answered 2 times')],
)
def test_a_sample_is_answered_once(rows: list[int], reason: str) -> None:
    parts = [(torch.tensor([row]), SCORES[[row]]) for row in rows]
    with pytest.raises(ValueError, match=reason):
        joined(parts, 3)
