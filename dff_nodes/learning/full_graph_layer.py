# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer that learns from a whole graph at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.graph import Graph
from dff_nodes.learning.layer import TrainFigures
from dff_nodes.learning.one_stream_layer import OneStreamLayer, class_figures
from dff_nodes.learning.rules.graph_rule import GraphStep
from dff_nodes.runs.resolve import UNLABELLED


class FullGraphLayer(OneStreamLayer):
    """
    A graph convolution and the local rule that trains it.

    The graph comes with every item, so the layer's device needs no file, and its state stays a
    function of configuration, seed and items. Only labels of training nodes are in it.
    """

    _graph: Graph | None = None
    """of the item before; all items of a run have the same, but none is trusted to"""

    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """See Layer.train."""
        self._prepare(normalize=True)
        with torch.set_grad_enabled(self.learns):
            step = self._step(batch)
            loss, scores = self.rule.loss(step)
        rate = self._update(loss)
        with torch.no_grad():
            passed = self._dropped(self.rule.passed(step.output.detach()))
            figures = class_figures(loss, scores.detach(), step.labels, rate)
        self.steps += 1
        return self._batch_behind(batch, passed), figures

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[Batch, Tensor]:
        """See Layer.evaluate."""
        step = self._step(batch)
        return self._batch_behind(batch, self.rule.passed(step.output)), self.rule.scores(step)

    def _step(self, batch: Batch) -> GraphStep:
        said = self.body.said(self._arrived(batch))
        output = self.body.heard(said, self._graph_of(batch))
        known = torch.nonzero(batch.labels != UNLABELLED).squeeze(1)
        labels = batch.labels[known].to(self.device)
        return GraphStep(self.body, said, output, known.to(self.device), labels)

    def _graph_of(self, batch: Batch) -> Graph:
        if self._graph is None or not torch.equal(self._graph.edges, batch.edges):
            self._graph = Graph(batch.edges, batch.samples, self.device)
        return self._graph

    def _batch_behind(self, batch: Batch, passed: Tensor) -> Batch:
        return Batch(self._to_wire(passed), labels=batch.labels, edges=batch.edges)
