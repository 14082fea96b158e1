# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The order of the stream: what each item number is, as a pure function of the run."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.stream.item import Kind, Mark

Split = Literal['train', 'test']


@dataclass(frozen=True)
class PlannedItem:
    """One item before its samples are looked up."""

    number: int
    kind: Kind
    epoch: int
    index: int = 0
    """batch of the epoch, or chunk of an evaluation"""
    split: Split = 'train'
    """EVALUATE: what is evaluated"""
    mark: Mark = Mark.NONE


class TrainingPlan:
    """
    Items of a training run.

    An epoch is closed in itself: with a read-out, the SCORE item of a batch comes `lag_batches`
    batches before its TRAIN item, and none crosses the MARK at its end. The test set follows
    the TRAIN items of an epoch, where it is due.
    """

    first_item = 0

    def __init__(self, resolved: ResolvedRun) -> None:
        self.resolved = resolved
        self.epochs = resolved.config.training.epochs
        lag = resolved.config.training.negatives.lag_batches
        self._lag = min(lag, resolved.batches_per_epoch)

    @property
    def items(self) -> int:
        """Number of items of the whole run."""
        return self.end_of_epoch(self.epochs - 1) + 1

    def end_of_epoch(self, epoch: int) -> int:
        """Item number of the MARK that ends an epoch."""
        # In closed form, as it is asked for with each message: evaluations of whole epochs before
        # the last are all alike.
        every = self.resolved.config.evaluation.every_epochs
        count = (epoch + 1) * (self._training_items + 1)
        whole = min(epoch + 1, self.epochs - 1)
        if every:
            count += whole // every * self.chunks('test')
        if epoch == self.epochs - 1:
            count += sum(self.chunks(split) for split in self.evaluated(epoch))
        return count - 1

    def epoch_of(self, item: int) -> int:
        """
        Epoch that an item belongs to.

        :raises ValueError: if there is no such item.
        """
        if not 0 <= item < self.items:
            raise ValueError(f'there is no item {item}, the last is {self.items - 1}')
        return bisect.bisect_left(range(self.epochs), item, key=self.end_of_epoch)

    def evaluated(self, epoch: int) -> list[Split]:
        """What is evaluated at the end of an epoch."""
        evaluation = self.resolved.config.evaluation
        if epoch == self.epochs - 1:
            return ['test', 'train'] if evaluation.train_samples else ['test']
        due = evaluation.every_epochs and (epoch + 1) % evaluation.every_epochs == 0
        return ['test'] if due else []

    def evaluated_samples(self, split: Split) -> int:
        """Samples of an evaluation."""
        facts = self.resolved.facts
        if split == 'test':
            return facts.test_samples
        return min(self.resolved.config.evaluation.train_samples, facts.train_samples)

    def chunks(self, split: Split) -> int:
        """EVALUATE items of an evaluation."""
        return -(-self.evaluated_samples(split) // self.resolved.evaluation_batch)

    def from_item(self, first_item: int) -> Iterator[PlannedItem]:
        """All items from one on; none from the end on."""
        if first_item >= self.items:
            return
        first_epoch = self.epoch_of(first_item)
        number = self.end_of_epoch(first_epoch - 1) + 1 if first_epoch else 0
        for epoch in range(first_epoch, self.epochs):
            for kind, index, split in self._epoch(epoch):
                if number >= first_item:
                    yield PlannedItem(number, kind, epoch, index, split)
                number += 1
            last = epoch == self.epochs - 1
            mark = Mark.END_OF_RUN if last else Mark.END_OF_EPOCH
            yield PlannedItem(number, Kind.MARK, epoch, mark=mark)
            number += 1

    @property
    def _training_items(self) -> int:
        streams = 2 if self.resolved.config.has_readout else 1
        return streams * self.resolved.batches_per_epoch

    def _epoch(self, epoch: int) -> Iterator[tuple[Kind, int, Split]]:
        batches = self.resolved.batches_per_epoch
        if self.resolved.config.has_readout:
            for step in range(batches + self._lag):
                if step < batches:
                    yield Kind.SCORE, step, 'train'
                if step >= self._lag:
                    yield Kind.TRAIN, step - self._lag, 'train'
        else:
            for index in range(batches):
                yield Kind.TRAIN, index, 'train'
        for split in self.evaluated(epoch):
            for index in range(self.chunks(split)):
                yield Kind.EVALUATE, index, split


class EvaluationPlan:
    """
    Items of an evaluation of trained weights: the samples, then the end.

    :param first_item: number of the first, where the weights left off.
    """

    def __init__(self, samples: int, batch: int, first_item: int = 0) -> None:
        self.samples = samples
        self.first_item = first_item
        self.items = first_item + -(-samples // batch) + 1

    def from_item(self, first_item: int) -> Iterator[PlannedItem]:
        """All items from one on."""
        end = self.items - 1
        for number in range(first_item, end):
            yield PlannedItem(number, Kind.EVALUATE, 0, number - self.first_item, 'test')
        if first_item <= end:
            yield PlannedItem(end, Kind.MARK, 0, mark=Mark.END_OF_RUN)

    def evaluated_samples(self, split: Split) -> int:
        """Samples of the evaluation."""
        return self.samples


Plan = TrainingPlan | EvaluationPlan


def scored_items(plan: Plan) -> Iterator[PlannedItem]:
    """Items that every layer scores, in order: the first message of each layer is of the first."""
    for planned in plan.from_item(plan.first_item):
        if planned.kind in (Kind.SCORE, Kind.EVALUATE):
            yield planned
