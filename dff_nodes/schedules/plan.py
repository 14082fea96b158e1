# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The order of the stream: what each item number is, as a pure function of the run."""

from __future__ import annotations

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

    An epoch is closed in itself, so that a run can be continued from the MARK at its end: with
    a read-out, the SCORE item of a batch comes `lag_batches` batches before its TRAIN item, and
    none crosses the MARK. The test set follows the TRAIN items of an epoch, where it is due.
    """

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
        count = 0
        for each in range(epoch + 1):
            count += self._training_items + 1
            count += sum(self.chunks(split) for split in self.evaluated(each))
        return count - 1

    def epoch_behind(self, item: int) -> int:
        """
        Epoch that begins at an item.

        :raises ValueError: if the item does not follow the MARK of an epoch.
        """
        for epoch in range(self.epochs):
            first = 0 if epoch == 0 else self.end_of_epoch(epoch - 1) + 1
            if first == item:
                return epoch
        raise ValueError(f'item {item} is not the first of an epoch')

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
        """All items from the beginning of an epoch on."""
        number = first_item
        for epoch in range(self.epoch_behind(first_item), self.epochs):
            for kind, index, split in self._epoch(epoch):
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
    """Items of an evaluation of trained weights: the samples, then the end."""

    def __init__(self, samples: int, batch: int) -> None:
        self.samples = samples
        self.items = -(-samples // batch) + 1

    def from_item(self, first_item: int) -> Iterator[PlannedItem]:
        """All items; `first_item` is where the weights left off."""
        for index in range(self.items - 1):
            yield PlannedItem(first_item + index, Kind.EVALUATE, 0, index, 'test')
        end = first_item + self.items - 1
        yield PlannedItem(end, Kind.MARK, 0, mark=Mark.END_OF_RUN)

    def evaluated_samples(self, split: Split) -> int:
        """Samples of the evaluation."""
        return self.samples
