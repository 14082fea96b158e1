# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Averages over a grid are those of adaptive_avg_pool2d, and so are their gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from dff_nodes.learning.rules.grid_average import GridAverage


@pytest.mark.parametrize(
    ('size', 'grid'), [((15, 15), (6, 6)), ((7, 7), (5, 3)), ((8, 6), (4, 6)), ((3, 3), (3, 3))]
)
def test_equals_adaptive_pooling(size: tuple[int, int], grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(4, 5, *size).contiguous(memory_format=torch.channels_last)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    averages, expected = GridAverage.apply(ours, grid), adaptive_avg_pool2d(theirs, grid)
    torch.testing.assert_close(averages, expected)
    weights = torch.randn(averages.shape)
    (averages * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
