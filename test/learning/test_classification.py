# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Layers' scores become one answer."""

from __future__ import annotations

import torch

from dff_nodes.learning.classification import combine, correct

SCORES = [torch.tensor([[float(2**layer), 0.0], [0.0, 3.0**layer]]) for layer in range(3)]


def test_scores_add_up_with_or_without_the_first_layer() -> None:
    assert combine(SCORES, 'all').tolist() == [[7.0, 0.0], [0.0, 13.0]]
    assert combine(SCORES, 'without_first').tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_the_layers_own_scores_are_not_changed() -> None:
    before = [scores.clone() for scores in SCORES]
    combine(SCORES, 'all')
    assert all(torch.equal(*pair) for pair in zip(SCORES, before, strict=True))


def test_the_highest_score_is_the_answer() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.0], [-1.0, -3.0, -2.0], [5.0, 5.5, 6.0]])
    assert correct(scores, torch.tensor([1, 0, 2])) == 3
    assert correct(scores, torch.tensor([1, 1, 0])) == 1
    assert correct(scores, torch.tensor([0, 1, 0])) == 0
