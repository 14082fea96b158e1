# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the coordinator gives out of a graph, and whose scores it counts."""

from __future__ import annotations

from torch import Tensor

from dff_nodes.data.graph import GraphDataset
from dff_nodes.learning.batch import Batch
from dff_nodes.schedules.plan import Split


def whole_graph(graph: GraphDataset) -> Batch:
    """Give the batch of every item: all nodes, and of the labels those of training nodes only."""
    return Batch(graph.features, labels=graph.shown, edges=graph.edges)


def counted_nodes(graph: GraphDataset, split: Split) -> tuple[Tensor, Tensor]:
    """Give the nodes of a split and their classes: int64 [samples] both."""
    if split == 'test':
        return graph.test_nodes, graph.y_test
    return graph.train_nodes, graph.y_train
