# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a graph layer is made of: a linear map, a mean over neighbours, a nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dff_nodes.learning.graph import Graph


class GraphBody(nn.Module):
    """A graph convolution in its two halves: what each node says, and what is made of it."""

    def __init__(self, inputs: int, units: int, aggregation: str, activation: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units, bias=False)
        self.bias = nn.Parameter(torch.zeros(units))
        self.aggregation = aggregation
        self.activation = activation

    def said(self, nodes: Tensor) -> Tensor:
        """Map each node by itself: float32 [nodes, inputs] -> [nodes, units]."""
        return self.linear(nodes)

    def heard(self, said: Tensor, graph: Graph) -> Tensor:
        """Give the output of each node of a graph: [nodes, units] -> [nodes, units]."""
        return self.made_of(graph.aggregate(said, self.aggregation))

    def made_of(self, mean: Tensor) -> Tensor:
        """Give the output of nodes that hear this: [nodes, units] -> [nodes, units]."""
        return self.activation(mean + self.bias)
