# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The stream schedule: activations travel, all layers work at once on different items."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from dff_nodes.data.batches import Batch as Samples
from dff_nodes.data.batches import Batches
from dff_nodes.data.dataset import Dataset
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.classification import combine, correct
from dff_nodes.learning.negatives import hardest_labels, random_labels, sampled_labels
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.plan import EvaluationPlan, PlannedItem, Split, TrainingPlan
from dff_nodes.stream.item import Item, Kind, Mark


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of each layer and of all together on one split."""

    epoch: int
    split: Split
    samples: int
    accuracy: float
    layer_accuracy: list[float]


@dataclass
class _Tally:
    """Correct answers of an evaluation so far."""

    samples: int = 0
    together: int = 0
    each: list[int] = field(default_factory=list)


class StreamCoordinator:
    """
    Feeds the items of a run and turns the layers' scores into negatives and accuracy.

    Knows nothing of the transport: `next_item` and `add_scores` may be called from a loop in
    one process or from the two ends of a network; the items are the same.

    :param first_item: item that follows the MARK of an epoch, or 0.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        dataset: Dataset,
        plan: TrainingPlan | EvaluationPlan,
        first_item: int = 0,
    ) -> None:
        self.resolved = resolved
        self.dataset = dataset
        self.plan = plan
        self.layers = len(resolved.config.network)
        self.evaluations: list[Evaluation] = []
        self.answers: list[list[Tensor]] = []
        """of an EvaluationPlan: scores together and of each layer, chunk by chunk"""
        self.save_at_marks = True
        """whether the next MARK asks for checkpoints; changes no result"""
        self._planned = plan.from_item(first_item)
        self._next: PlannedItem | None = next(self._planned)
        self._ahead: dict[int, Samples] = {}
        self._scores: dict[int, list[Tensor | None]] = {}
        self._scored: dict[int, PlannedItem] = {}
        self._negatives: dict[int, Tensor] = {}
        self._tallies: dict[tuple[int, Split], _Tally] = {}

    @cached_property
    def batches(self) -> Batches:
        """Training batches; an evaluation has none."""
        config = self.resolved.config
        return Batches(
            self.dataset, config.training.batch_size, config.data.shift_pixels, config.seed
        )

    @property
    def fed(self) -> bool:
        """Whether all items were given out."""
        return self._next is None

    @property
    def finished(self) -> bool:
        """Whether all items were given out and all their scores have come."""
        return self.fed and not self._scored

    @property
    def waiting_for_scores(self) -> str | None:
        """Which scores the next item waits for, None if it could be given out."""
        planned = self._next
        if planned is None or not self._needs_scores(planned):
            return None
        return f'the scores of batch {planned.index}'

    def next_item(self) -> Item | None:
        """Give out the next item; None while it waits for scores, and at the end."""
        planned = self._next
        if planned is None or self._needs_scores(planned):
            return None
        item = self._make(planned)
        if planned.kind in (Kind.SCORE, Kind.EVALUATE):
            self._scored[planned.number] = planned
            self._scores[planned.number] = [None] * self.layers
        self._next = next(self._planned, None)
        return item

    def add_scores(self, layer: int, item: int, scores: Tensor) -> None:
        """
        Take one layer's class scores of one item.

        :param scores: float32 [samples, classes].
        :raises ValueError: if no scores of that item and layer are awaited.
        """
        awaited = self._scores.get(item)
        known = 0 <= layer < self.layers
        if awaited is None or not known or awaited[layer] is not None:
            raise ValueError(f'no scores of item {item} are awaited from layer_{layer}')
        awaited[layer] = scores.cpu()
        if all(each is not None for each in awaited):
            self._settle(self._scored.pop(item), self._scores.pop(item))

    def settled_before(self, item: int) -> bool:
        """Whether all scores of the items before that one have come."""
        return all(awaited >= item for awaited in self._scored)

    def samples_of(self, item: int) -> int | None:
        """Samples of an item whose scores are awaited, None for others."""
        planned = self._scored.get(item)
        if planned is None:
            return None
        chunk = self._chunk(planned)
        return chunk.stop - chunk.start

    def _needs_scores(self, planned: PlannedItem) -> bool:
        adaptive = self.resolved.config.training.negatives.mode == 'adaptive'
        return planned.kind == Kind.TRAIN and adaptive and planned.index not in self._negatives

    def _make(self, planned: PlannedItem) -> Item:
        if planned.kind == Kind.MARK:
            save = self.save_at_marks or planned.mark == Mark.END_OF_RUN
            return Item(
                planned.number, Kind.MARK, planned.epoch, mark=planned.mark, checkpoint=save
            )
        if planned.kind == Kind.EVALUATE:
            images, _ = self._split(planned.split)
            batch = Batch(images[self._chunk(planned)])
            return Item(planned.number, Kind.EVALUATE, planned.epoch, batch)
        if planned.kind == Kind.SCORE:
            samples = self.batches.batch(planned.epoch, planned.index)
            self._ahead[planned.index] = samples
            batch = Batch(samples.images, labels=samples.labels)
            return Item(planned.number, Kind.SCORE, planned.epoch, batch)
        return self._make_train(planned)

    def _make_train(self, planned: PlannedItem) -> Item:
        samples = self._ahead.pop(planned.index, None)
        if samples is None:
            samples = self.batches.batch(planned.epoch, planned.index)
        negatives = self._negatives.pop(planned.index, None)
        if negatives is None:
            negatives = self._drawn_negatives(planned, samples)
        batch = Batch(samples.images, labels=samples.labels, negative_labels=negatives)
        return Item(planned.number, Kind.TRAIN, planned.epoch, batch)

    def _drawn_negatives(self, planned: PlannedItem, samples: Samples) -> Tensor:
        if self.resolved.config.training.negatives.mode == 'fixed':
            return self._fixed_negatives[samples.samples]
        classes, seed = self.resolved.facts.classes, self.resolved.config.seed
        return random_labels(samples.labels, classes, seed, planned.epoch, planned.index)

    @cached_property
    def _fixed_negatives(self) -> Tensor:
        """Give the wrong class that every training sample keeps for the whole run."""
        classes, seed = self.resolved.facts.classes, self.resolved.config.seed
        return random_labels(self.dataset.y_train, classes, seed, 'fixed')

    def _settle(self, planned: PlannedItem, scores: list[Tensor]) -> None:
        """All layers have scored an item: choose its negatives, or count its answers."""
        if planned.kind == Kind.SCORE:
            if self.resolved.config.training.negatives.mode == 'adaptive':
                self._negatives[planned.index] = self._adaptive_negatives(planned, scores)
            return
        self._count(planned, scores)

    def _adaptive_negatives(self, planned: PlannedItem, scores: list[Tensor]) -> Tensor:
        config = self.resolved.config
        together = combine(scores, config.classification.layers)
        labels = self._ahead[planned.index].labels
        negatives = config.training.negatives
        if negatives.pick == 'hardest':
            return hardest_labels(together, labels)
        # Read-outs that learned the same say it once: the sum would be surer than each of them.
        used = len(scores) - (config.classification.layers == 'without_first')
        together = together / (used * negatives.temperature)
        return sampled_labels(together, labels, config.seed, planned.epoch, planned.index)

    def _count(self, planned: PlannedItem, scores: list[Tensor]) -> None:
        _, all_labels = self._split(planned.split)
        labels = all_labels[self._chunk(planned)]
        key = planned.epoch, planned.split
        tally = self._tallies.setdefault(key, _Tally(each=[0] * self.layers))
        together = combine(scores, self.resolved.config.classification.layers)
        tally.samples += len(labels)
        tally.together += correct(together, labels)
        for layer, own in enumerate(scores):
            tally.each[layer] += correct(own, labels)
        if isinstance(self.plan, EvaluationPlan):
            self.answers.append([together, *scores])
        if tally.samples == self.plan.evaluated_samples(planned.split):
            self.evaluations.append(_evaluation(key, self._tallies.pop(key)))

    def _split(self, split: Split) -> tuple[Tensor, Tensor]:
        if split == 'test':
            return self.dataset.x_test, self.dataset.y_test
        return self.dataset.x_train, self.dataset.y_train

    def _chunk(self, planned: PlannedItem) -> slice:
        """Which samples of its split, or of the epoch's order, an item holds."""
        if planned.kind == Kind.EVALUATE:
            size = self.resolved.evaluation_batch
            samples = self.plan.evaluated_samples(planned.split)
        else:
            size = self.resolved.config.training.batch_size
            samples = len(self.dataset.y_train)
        return slice(planned.index * size, min((planned.index + 1) * size, samples))


def _evaluation(key: tuple[int, Split], tally: _Tally) -> Evaluation:
    epoch, split = key
    return Evaluation(
        epoch,
        split,
        tally.samples,
        tally.together / tally.samples,
        [each / tally.samples for each in tally.each],
    )
