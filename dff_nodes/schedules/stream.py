# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The stream schedule: activations travel, all layers work at once on different items."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from dff_nodes.data.batches import Batch as Samples
from dff_nodes.data.batches import Batches
from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import Augmentation
from dff_nodes.data.graph import GraphDataset
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.classification import combine, correct
from dff_nodes.learning.early_exit import joined
from dff_nodes.learning.negatives import adaptive_labels, hybrid_images, random_labels
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.decisions import Decision
from dff_nodes.schedules.graph_items import counted_nodes, whole_graph
from dff_nodes.schedules.plan import EvaluationPlan, Plan, PlannedItem, Split, scored_items
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
    right: list[int] = field(default_factory=list)
    """of all layers together, then of each"""


@dataclass(frozen=True)
class _Scored:
    """What one layer told of an item."""

    scores: Tensor
    rows: Tensor | None


class StreamCoordinator:
    """
    Feeds the items of a run and turns the layers' scores into negatives and accuracy.

    Knows nothing of the transport: `next_item` and `add_scores` may be called from a loop in
    one process or from the two ends of a network; the items are the same. So are they for one
    that comes back and is given what was decided before.

    :param first_item: item to begin with.
    :param decided: what came of the first scored items, in order.
    :raises ValueError: if these are decisions of another run.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        dataset: Dataset | GraphDataset,
        plan: Plan,
        first_item: int | None = None,
        decided: Sequence[Decision] = (),
    ) -> None:
        self.resolved = resolved
        self.dataset = dataset
        self.plan = plan
        self.layers = len(resolved.config.network)
        self.evaluations: list[Evaluation] = []
        self.answers: list[list[Tensor]] = []
        """
        of an EvaluationPlan: scores together and of each layer, chunk by chunk; by early exit only
        those of the layers up to the one that answered
        """
        self.answered_by: list[Tensor] = []
        """by early exit: which layer answered each sample, int64 [samples], chunk by chunk"""
        self.save_next = False
        """whether layers save their state behind the next item; changes no result"""
        self.first_item = plan.first_item if first_item is None else first_item
        self.settled = 0
        """scored items of which all scores have come"""
        self._new_decisions: list[Decision] = []
        self._tallies: dict[tuple[int, Split], _Tally] = {}
        self._awaited: deque[PlannedItem] = deque()
        self._scored = scored_items(plan)
        self._scores: dict[int, list[_Scored | None]] = {}
        for decision in decided:
            self._recall(decision)
        self.rewind(self.first_item, decided)

    def _recall(self, decision: Decision) -> None:
        """Count what was decided before."""
        planned = next(self._scored, None)
        evaluated = planned is not None and planned.kind == Kind.EVALUATE
        each = self.layers + 1 if evaluated else 0
        if planned is None or (planned.number, each) != (decision.item, len(decision.correct)):
            raise ValueError(f'what was decided of item {decision.item} is not of this run')
        self.settled += 1
        if evaluated:
            self._count(planned, decision.correct)

    def rewind(self, item: int, decided: Sequence[Decision]) -> None:
        """
        Give out the items from one on, again or for the first time.

        :param decided: what came of all scored items that are settled, in order.
        """
        self._planned = self.plan.from_item(item)
        self._next: PlannedItem | None = next(self._planned, None)
        self._ahead: dict[tuple[int, int], Samples] = {}
        self._negatives: dict[tuple[int, int], Tensor] = {}
        first_epoch = self._next.epoch if self._next else 0
        for planned, decision in zip(scored_items(self.plan), decided, strict=False):
            if decision.negatives is not None and planned.epoch >= first_epoch:
                self._negatives[planned.epoch, planned.index] = decision.negatives

    def take_decisions(self) -> list[Decision]:
        """Give the decisions since the last call, in order."""
        taken, self._new_decisions = self._new_decisions, []
        return taken

    @cached_property
    def batches(self) -> Batches:
        """Training batches; an evaluation has none."""
        config = self.resolved.config
        return Batches(
            self.dataset,
            config.training.batch_size,
            Augmentation.of(config.data),
            config.seed,
        )

    @property
    def fed(self) -> bool:
        """Whether all items were given out."""
        return self._next is None

    @property
    def finished(self) -> bool:
        """Whether all items were given out and all their scores have come."""
        return self.fed and self.scored_item(self.settled) is None

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
        self._next = next(self._planned, None)
        return item

    def scored_item(self, sequence: int) -> PlannedItem | None:
        """Which item a layer's message of that number scores; None if it is settled, or none."""
        while len(self._awaited) <= sequence - self.settled:
            planned = next(self._scored, None)
            if planned is None:
                return None
            self._awaited.append(planned)
        return self._awaited[sequence - self.settled] if sequence >= self.settled else None

    def settled_before(self, item: int) -> bool:
        """Whether all scores of the items before that one have come."""
        planned = self.scored_item(self.settled)
        return planned is None or planned.number >= item

    def samples_of(self, planned: PlannedItem) -> int:
        """Samples of an item that is scored; of a graph all its nodes."""
        return self.resolved.facts.nodes or self._counted(planned)

    def _counted(self, planned: PlannedItem) -> int:
        """Samples of a scored item whose answers count."""
        chunk = self._chunk(planned)
        return chunk.stop - chunk.start

    def add_scores(
        self, layer: int, item: int, scores: Tensor, rows: Tensor | None = None
    ) -> None:
        """
        Take one layer's class scores of one item; each layer's come in the order of the items.

        :param scores: float32 [samples, classes].
        :param rows: by early exit: int64 [samples], which samples of the item these are.
        :raises ValueError: if no scores of that item and layer are awaited, or if not each of its
            samples was answered once.
        """
        if not self._awaited:
            self.scored_item(self.settled)
        while self._awaited and self._awaited[-1].number < item:
            if self.scored_item(self.settled + len(self._awaited)) is None:
                break
        known = 0 <= layer < self.layers and any(item == each.number for each in self._awaited)
        awaited = self._scores.setdefault(item, [None] * self.layers) if known else None
        if awaited is None or awaited[layer] is not None:
            raise ValueError(f'no scores of item {item} are awaited from layer_{layer}')
        awaited[layer] = _Scored(scores.cpu(), rows)
        while self._awaited and self._is_complete(self._awaited[0].number):
            planned = self._awaited.popleft()
            self.settled += 1
            self._settle(planned, self._scores.pop(planned.number))

    def _is_complete(self, item: int) -> bool:
        return all(each is not None for each in self._scores.get(item, [None]))

    def _needs_scores(self, planned: PlannedItem) -> bool:
        adaptive = self.resolved.config.training.negatives.mode == 'adaptive'
        key = planned.epoch, planned.index
        needed = adaptive and self.resolved.config.streams == 2
        return planned.kind == Kind.TRAIN and needed and key not in self._negatives

    def _make(self, planned: PlannedItem) -> Item:
        save = self.save_next or planned.mark == Mark.END_OF_RUN
        batch = self._batch(planned)
        return Item(planned.number, planned.kind, planned.epoch, batch, planned.mark, save)

    def _batch(self, planned: PlannedItem) -> Batch | None:
        if planned.kind == Kind.MARK:
            return None
        if isinstance(self.dataset, GraphDataset):
            return whole_graph(self.dataset)
        if planned.kind == Kind.EVALUATE:
            images, _ = self._split(planned.split)
            return Batch(images[self._chunk(planned)])
        key = planned.epoch, planned.index
        if planned.kind == Kind.SCORE:
            samples = self._ahead[key] = self._samples(planned)
            return Batch(samples.images, labels=samples.labels)
        samples = self._samples(planned)
        self._ahead.pop(key, None)
        if self.resolved.config.streams == 1:
            return Batch(samples.images, labels=samples.labels)
        if self.resolved.config.hybrid:
            seed = self.resolved.config.seed
            return Batch(samples.images, hybrid_images(samples.images, seed, *key))
        negatives = self._negatives.pop(key, None)
        if negatives is None:
            negatives = self._drawn_negatives(planned, samples)
        return Batch(samples.images, labels=samples.labels, negative_labels=negatives)

    def _samples(self, planned: PlannedItem) -> Samples:
        """Samples of a batch; those between its SCORE and its TRAIN item are at hand."""
        ahead = self._ahead.get((planned.epoch, planned.index))
        return ahead or self.batches.batch(planned.epoch, planned.index)

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

    def _settle(self, planned: PlannedItem, scored: list[_Scored]) -> None:
        """All layers have scored an item: choose its negatives, or count its answers."""
        negatives, correct = None, ()
        scores = [each.scores for each in scored]
        if planned.kind == Kind.EVALUATE:
            if self.resolved.has_early_exit:
                correct = self._parted_answer(planned, scored)
            else:
                correct = self._answer(planned, scores)
            self._count(planned, correct)
        elif self.resolved.config.training.negatives.mode == 'adaptive':
            negatives = self._adaptive_negatives(planned, scores)
            self._negatives[planned.epoch, planned.index] = negatives
        self._new_decisions.append(Decision(planned.number, negatives, correct))

    def _adaptive_negatives(self, planned: PlannedItem, scores: list[Tensor]) -> Tensor:
        labels = self._samples(planned).labels
        config = self.resolved.config
        return adaptive_labels(scores, labels, config, planned.epoch, planned.index)

    def _answer(self, planned: PlannedItem, scores: list[Tensor]) -> tuple[int, ...]:
        """Right answers of all layers together, then of each."""
        chosen, all_labels = self._split(planned.split)
        chunk = self._chunk(planned)
        labels = all_labels[chunk]
        if isinstance(self.dataset, GraphDataset):
            scores = [each[chosen[chunk]] for each in scores]
        together = combine(scores, self.resolved.config.classification.layers)
        if isinstance(self.plan, EvaluationPlan):
            self.answers.append([together, *scores])
        return tuple(correct(each, labels) for each in (together, *scores))

    def _parted_answer(self, planned: PlannedItem, scored: list[_Scored]) -> tuple[int, ...]:
        """Right answers by early exit, of whichever layers gave them."""
        _, all_labels = self._split(planned.split)
        parts = [(each.rows, each.scores) for each in scored]
        try:
            scores, answered_by = joined(parts, self.samples_of(planned))
        except ValueError as error:
            raise ValueError(f'item {planned.number}: {error}') from None
        self.answers.append([scores])
        self.answered_by.append(answered_by)
        return (correct(scores, all_labels[self._chunk(planned)]),)

    def _count(self, planned: PlannedItem, right: Sequence[int]) -> None:
        """Count the answers of an EVALUATE item; the last one completes its evaluation."""
        key = planned.epoch, planned.split
        tally = self._tallies.setdefault(key, _Tally(right=[0] * len(right)))
        tally.samples += self._counted(planned)
        tally.right = [before + new for before, new in zip(tally.right, right, strict=True)]
        if tally.samples == self.plan.evaluated_samples(planned.split):
            self.evaluations.append(_evaluation(key, self._tallies.pop(key)))

    def _split(self, split: Split) -> tuple[Tensor, Tensor]:
        """Give the images of a split, or which nodes of a graph they are, and the classes."""
        if isinstance(self.dataset, GraphDataset):
            return counted_nodes(self.dataset, split)
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
    together, *each = (right / tally.samples for right in tally.right)
    return Evaluation(epoch, split, tally.samples, together, each)
