# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of a local rule of a graph layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from dff_nodes.learning.graph_body import GraphBody
from dff_nodes.learning.rules.local_rule import Setting


@dataclass(frozen=True)
class GraphStep:
    """A whole graph at a layer, the layer's output computed."""

    body: GraphBody
    """the layer itself"""
    said: Tensor
    """float32 [nodes, units], what each node says to its neighbours"""
    output: Tensor
    """float32 [nodes, units], carries the layer's gradient while it trains"""
    known: Tensor
    """int64 [training nodes]: those whose class is known, ascending"""
    labels: Tensor
    """int64 [training nodes]: their classes, two nodes of each at least"""


class GraphRule(nn.Module, ABC):
    """Loss, class scores and what passes on, of one graph layer; else as LocalRule."""

    trains_body = True

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting

    @abstractmethod
    def loss(self, step: GraphStep) -> tuple[Tensor, Tensor]:
        """
        Give what the step minimises, and the scores of the classes of the training nodes.

        :returns: scalar, and float32 [training nodes, classes].
        """

    @abstractmethod
    def scores(self, step: GraphStep) -> Tensor:
        """Give the scores of the classes of all nodes without learning: [nodes, classes]."""

    @abstractmethod
    def passed(self, output: Tensor) -> Tensor:
        """Give what passes on to the next layer, [nodes, units]."""
