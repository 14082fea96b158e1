# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The graph of an item: who is whose neighbour, and sums over neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Graph:
    """
    Nodes and their neighbours, each node its own neighbour too.

    Sums are taken in one order, node by node and neighbours ascending, so that they have the same
    bits in every process; scattered additions would not on every device.

    :param edges: int64 [edges, 2]: each pair once, in any order.
    :param nodes: how many there are.
    """

    def __init__(self, edges: Tensor, nodes: int, device: torch.device) -> None:
        self.edges = edges
        themselves = torch.arange(nodes)
        rows = torch.cat((edges[:, 0], edges[:, 1], themselves))
        columns = torch.cat((edges[:, 1], edges[:, 0], themselves))
        # Unique keys: every order of sorting equal ones gives the same.
        keys = (rows * nodes + columns).sort().values
        degrees = rows.bincount(minlength=nodes)
        self._neighbours = (keys % nodes).to(device)
        """int64 [2 * edges + nodes], node by node"""
        self._first = (degrees.cumsum(0) - degrees).to(device)
        """int64 [nodes]: where those of a node begin"""
        self._degrees = degrees.to(device, torch.float32)[:, None]

    def sum(self, values: Tensor) -> Tensor:
        """Add up each node's neighbours: float32 [nodes, units] -> [nodes, units]."""
        return embedding_bag(self._neighbours, values.contiguous(), self._first, mode='sum')

    def aggregate(self, values: Tensor, how: str) -> Tensor:
        """
        Average each node's neighbours; a gradient goes back the same way.

        :param values: float32 [nodes, units].
        :param how: mean, or symmetric: D^-1/2 A D^-1/2 of GCN (1609.02907).
        """
        if how == 'mean':
            return _Sum.apply(values, self) / self._degrees
        root = self._degrees.rsqrt()
        return root * _Sum.apply(root * values, self)


class _Sum(torch.autograd.Function):
    """Sum over neighbours; being mutual, it is its own transpose."""

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx, values: Tensor, graph: Graph
    ) -> Tensor:
        context.graph = graph
        return graph.sum(values)

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None]:
        return context.graph.sum(gradient), None
