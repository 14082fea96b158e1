# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Sums over neighbours, against matrices written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dff_nodes.learning.graph import Graph

EDGES = torch.tensor([[0, 1], [0, 4], [1, 2], [2, 4]])
NODES = 6
CPU = torch.device('cpu')


def matrix(how: str) -> Tensor:
    """Write the aggregation out: a node is its own neighbour, and node 3 has no other."""
    joined = torch.eye(NODES)
    joined[EDGES[:, 0], EDGES[:, 1]] = joined[EDGES[:, 1], EDGES[:, 0]] = 1
    degrees = joined.sum(1)
    if how == 'mean':
        return joined / degrees[:, None]
    return joined / (degrees[:, None] * degrees[None]).sqrt()


@pytest.mark.parametrize('how', ['mean', 'symmetric'])
def test_values_and_gradients_are_those_of_the_matrix(how: str, random: torch.Generator) -> None:
    values = torch.randn(NODES, 5, generator=random, requires_grad=True)
    weights = torch.randn(NODES, 5, generator=random)
    result = Graph(EDGES, NODES, CPU).aggregate(values, how)
    expected = matrix(how) @ values
    assert torch.allclose(result, expected, atol=1e-6)
    (ours,) = torch.autograd.grad((result * weights).sum(), values)
    (right,) = torch.autograd.grad((expected * weights).sum(), values)
    assert torch.allclose(ours, right, atol=1e-6)


def test_the_order_of_edges_changes_no_bit(random: torch.Generator) -> None:
    edges = torch.randint(0, 300, (4000, 2), generator=random)
    edges = edges[edges[:, 0] < edges[:, 1]].unique(dim=0)
    values = torch.randn(300, 33, generator=random)
    shuffled = edges[torch.randperm(len(edges), generator=random)]
    results = [
        Graph(each, 300, CPU).aggregate(values, 'mean') for each in (edges, shuffled.flip(1))
    ]
    assert torch.equal(*results)
