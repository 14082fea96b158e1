# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What one layer does with each kind of item: the same over ROS 2 and in the reference."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dff_nodes.learning.early_exit import EarlyExit
from dff_nodes.learning.layer import Diverged, Layer, TrainFigures
from dff_nodes.learning.wire import all_finite
from dff_nodes.stream.item import Item, Kind


@dataclass(frozen=True)
class Handled:
    """What came of an item at one layer."""

    passed_on: Item
    """the item for the next layer"""
    scores: Tensor | None = None
    """float32 [samples, classes] for the coordinator"""
    rows: Tensor | None = None
    """early exit: int64 [samples], which samples of the item the scores are of"""
    figures: TrainFigures | None = None


class OutOfOrder(ValueError):
    """An item was given to a layer before those in front of it."""


class LayerWorker:
    """
    Handles the items of a stream strictly in order.

    :param first_item: number of the first item to come.
    :param scored: class scores that came of the items before it.
    :param applied: digest of the items before it.
    :param early_exit: parts the batches of an evaluation; None where all samples go on.
    """

    def __init__(
        self,
        layer: Layer,
        first_item: int,
        scored: int = 0,
        applied: str = '',
        early_exit: EarlyExit | None = None,
    ) -> None:
        self.layer = layer
        self.early_exit = early_exit
        self.next_item = first_item
        self.scored = scored
        self.applied = applied
        """SHA-256 over the digest before, number and kind of every item: each came just once"""

    def handle(self, item: Item) -> Handled:
        """
        Train on, score or pass on one item.

        :raises OutOfOrder: for any item but the next.
        :raises Diverged: where what came of it is not finite; nobody further on would take it.
        """
        if item.number != self.next_item:
            raise OutOfOrder(f'item {item.number} came, item {self.next_item} is next')
        handled = self._handle(item)
        self._check_finite(handled)
        self.next_item += 1
        self.scored += handled.scores is not None
        step = f'{self.applied} {item.number} {int(item.kind)}'
        self.applied = hashlib.sha256(step.encode()).hexdigest()
        return handled

    def _check_finite(self, handled: Handled) -> None:
        batch, figures = handled.passed_on.batch, handled.figures
        came = {
            'loss': None if figures is None else torch.tensor(figures.loss),
            'class score': handled.scores,
        }
        if batch is not None:
            passed = f'{str(self.layer.wire).removeprefix("torch.")} output'
            came |= {passed: batch.positive, f'{passed} of negatives': batch.negative}
        for what, tensor in came.items():
            if tensor is not None and not all_finite(tensor):
                raise Diverged(self.layer.name, what, f'at item {handled.passed_on.number}')

    def _handle(self, item: Item) -> Handled:
        if item.kind == Kind.TRAIN:
            batch, figures = self.layer.train(item.batch)
            return Handled(replace(item, batch=batch), figures=figures)
        if item.kind == Kind.SCORE:
            batch, scores = self.layer.score(item.batch)
            return Handled(replace(item, batch=batch), scores)
        if item.kind == Kind.EVALUATE and self.early_exit is not None:
            return self._evaluate_and_part(item)
        if item.kind == Kind.EVALUATE:
            batch, scores = self.layer.evaluate(item.batch)
            return Handled(replace(item, batch=batch), scores)
        return Handled(item)

    def _evaluate_and_part(self, item: Item) -> Handled:
        """Answer the samples that this layer is sure of; without any left there is no pass."""
        if item.batch.samples:
            parted = self.early_exit.part(item.batch, *self.layer.evaluate(item.batch))
        else:
            parted = self.early_exit.nothing()
        return Handled(replace(item, batch=parted.passed_on), parted.scores, parted.rows)
