# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Makes the parts of a chapter: the same in a worker's node and in the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dff_nodes.data.batches import Batches, chunks
from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import Augmentation
from dff_nodes.learning.batch import Batch, joined, parted, picked
from dff_nodes.learning.classification import combine, correct
from dff_nodes.learning.layer import Diverged, Layer, TrainFigures, make_layer
from dff_nodes.learning.negatives import adaptive_labels, random_labels
from dff_nodes.learning.wire import all_finite
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapters import BLOCK_SAMPLES, ChapterPlan, Need, Part
from dff_nodes.schedules.holdings import Holdings

COUNTERS = ('steps', 'steps_done')
"""moments that say how far a layer's training is, wherever its others stay"""
NEGATIVES = 'labels'


@dataclass(frozen=True)
class StepDone:
    """What a training step of a layer showed."""

    part: Part
    step: int
    """of this layer, from the beginning of the run"""
    epoch: int
    samples: int
    figures: TrainFigures


@dataclass
class _Block:
    """Neighbouring batches on their way through the layers."""

    depth: int
    """layers that they have passed"""
    train: Batch
    neutral: Batch | None

    @property
    def bytes(self) -> int:
        """Memory of the samples."""
        tensors = [self.train.positive, self.train.negative]
        if self.neutral is not None:
            tensors.append(self.neutral.positive)
        return sum(each.numel() * each.element_size() for each in tensors if each is not None)


def _picked(blocks: list[_Block], places: Tensor) -> _Block:
    """Give samples by their places in blocks of the same depth, one behind the other."""
    neutral = [block.neutral for block in blocks if block.neutral is not None]
    return _Block(
        blocks[0].depth,
        picked([block.train for block in blocks], places),
        picked(neutral, places) if neutral else None,
    )


class ChapterWorker:
    """
    Makes parts from what they need; what it makes is a pure function of that and of its data.

    Holds one object per layer that it works with: `missing` says what must be put into them with
    `load` before `make`.

    :param dataset: this worker's own.
    :param check: is called again and again where no training step is told; may raise.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        dataset: Dataset,
        device: torch.device,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.resolved = resolved
        self._check = check
        self.plan = ChapterPlan(resolved)
        self.dataset = dataset
        self.device = device
        self.config = resolved.config
        self._layers: dict[int, Layer] = {}
        self._holdings = Holdings(self.plan)
        self._own: dict[str, Tensor] | None = None
        self._negatives: dict[Part, Tensor] = {}
        self._kept: dict[tuple[int, int], _Block] = {}
        """what arrives at a layer, by epoch (of arrivals for all the first) and first batch"""
        self._kept_chapter = -1
        self.batches = Batches(
            dataset,
            self.config.training.batch_size,
            Augmentation.of(self.config.data),
            self.config.seed,
        )

    # ---- what a part is made from --------------------------------------------------------

    def missing(self, part: Part) -> list[Need]:
        """What must be loaded, in this order, before a part can be made."""
        return self._holdings.missing(part)

    def load(self, part: Part, need: Need, tensors: dict[str, Tensor]) -> None:
        """
        Take in what a part needs.

        :raises ValueError: if these are tensors of something else.
        """
        if not self.plan.is_layer(need.part):
            self._negatives = {need.part: self._checked(need.part, tensors)}
        elif need.part == self.plan.own_before(part):
            self._own = tensors
        elif need.whole:
            self.layer(need.part.layer).load_state(tensors)
        else:
            self.layer(need.part.layer).load_learned(tensors)
        self._holdings.take(part, need)

    def _checked(self, part: Part, tensors: dict[str, Tensor]) -> Tensor:
        """Give the wrong classes of this worker's samples, int64 [samples]."""
        samples, classes = len(self.dataset.y_train), self.resolved.facts.classes
        wrong = tensors.get(NEGATIVES)
        if wrong is None or wrong.shape != (samples,):
            found = None if wrong is None else list(wrong.shape)
            raise ValueError(
                f'the negatives of chapter {part.chapter + 1} have {NEGATIVES} {found}, '
                f'{[samples]} is right'
            )
        wrong = wrong.to(torch.int64)
        if int(wrong.min()) < 0 or int(wrong.max()) >= classes:
            raise ValueError(
                f'the negatives of chapter {part.chapter + 1} are classes {int(wrong.min())} to '
                f'{int(wrong.max())}, 0 to {classes - 1} are right'
            )
        return wrong

    def learned_names(self, layer: int) -> set[str]:
        """Names of the tensors that a part has where it is not whole."""
        return set(self.layer(layer).parameters())

    def layer(self, index: int) -> Layer:
        """Give the object of a layer, with what was loaded or made last."""
        if index not in self._layers:
            self._layers[index] = make_layer(self.resolved, index, self.device)
        return self._layers[index]

    # ---- making a part -------------------------------------------------------------------

    def prepare(self, part: Part) -> Iterator[None]:
        """
        Make what arrives at a part's layer, a block with each step, as far as it can be kept.

        May be given up at any time; `make` does the rest. Everything but the layer itself must be
        loaded.
        """
        if not self.plan.is_layer(part) or not self.plan.keeps_arrivals(part.layer):
            return
        for epoch in self.plan.epochs(part.chapter)[: self.plan.passes]:
            for _ in self._arrivals(part, epoch):
                yield

    def make(self, part: Part, on_step: Callable[[StepDone], None]) -> dict[str, Tensor]:
        """
        Make a part whose needs are all loaded.

        :param on_step: is told of every training step; what it raises ends the making.
        :returns: its tensors, cut from what this worker goes on with.
        :raises Diverged: where one of them is not finite.
        """
        if not self.plan.is_layer(part):
            return {NEGATIVES: self._likely_wrong(part.chapter)}
        layer = self._begin(part)
        self._holdings.begin(part)
        step = self.plan.steps_before(part.chapter)
        for epoch in self.plan.epochs(part.chapter):
            for block in self._blocks(part, epoch):
                for neutral, batch in self._steps_of(block):
                    if neutral is not None:
                        layer.score(neutral)
                    _, figures = layer.train(batch)
                    on_step(StepDone(part, step, epoch, batch.samples, figures))
                    step += 1
        self._holdings.made(part)
        made = {name: tensor.clone() for name, tensor in layer.state().items()}
        for name, tensor in made.items():
            if not all_finite(tensor):
                raise Diverged(layer.name, name, f'after chapter {part.chapter + 1}')
        return made

    def _begin(self, part: Part) -> Layer:
        """Give the layer as this chapter finds it."""
        if part.chapter == 0:
            self._layers.pop(part.layer, None)
        layer, learned = self.layer(part.layer), self.learned_names(part.layer)
        if self.plan.moments_stay:
            self._put_moments(part, layer, learned)
        share = self.plan.own_share
        if share and self._own is not None:
            state = layer.state()
            for name in learned:
                if state[name].is_floating_point():
                    own = self._own[name].to(state[name].device)
                    state[name] = (1 - share) * state[name] + share * own
            layer.load_state(state)
        self._own = None
        return layer

    def _put_moments(self, part: Part, layer: Layer, learned: set[str]) -> None:
        """Take the moments that this worker had for the layer, none before it had any."""
        fresh = make_layer(self.resolved, part.layer, self.device).state()
        moments = self._own if self._own is not None else fresh
        state = layer.state()
        for name in state.keys() - learned:
            state[name] = moments[name]
            if name.rpartition('.')[2] in COUNTERS:
                state[name] = torch.tensor(self.plan.steps_before(part.chapter))
        layer.load_state(state)

    # ---- what arrives at a layer ---------------------------------------------------------

    def _blocks(self, part: Part, epoch: int) -> Iterator[_Block]:
        """Give an epoch's batches as they arrive at a part's layer, neighbours together."""
        first = self.plan.epochs(part.chapter)[0]
        if self.plan.passes == self.plan.epochs_each:
            yield from self._arrivals(part, epoch)
            return
        # All epochs take their samples from what arrived in the order of the first.
        arrived = list(self._arrivals(part, first))
        place = torch.empty(len(self.dataset.y_train), dtype=torch.int64)
        place[self._samples(first, slice(None))] = torch.arange(len(place))
        for span in self._spans:
            yield _picked(arrived, place[self._samples(epoch, span)])

    def _samples(self, epoch: int, batches: slice) -> Tensor:
        """Which samples neighbouring batches of an epoch hold, in order."""
        indices = range(self.batches.per_epoch)[batches]
        return torch.cat([self.batches.samples(epoch, index) for index in indices])

    @property
    def _spans(self) -> list[slice]:
        """Batches that pass the layers together."""
        per_block = max(1, BLOCK_SAMPLES // self.config.training.batch_size)
        return chunks(self.batches.per_epoch, per_block)

    def _arrivals(self, part: Part, epoch: int) -> Iterator[_Block]:
        """Let an epoch's samples pass the layers before a part's, as far as they have not yet."""
        if part.chapter != self._kept_chapter:
            self._kept.clear()
            self._kept_chapter = part.chapter
        for span in self._spans:
            key = epoch, span.start
            block = self._kept.get(key) or self._images(part, epoch, span)
            while block.depth < part.layer:
                block = self._passed_on(block)
            # Of what is too large nothing is kept: the next layer begins at the images.
            if self.plan.keeps_arrivals(part.layer):
                self._kept[key] = block
            yield block

    def _images(self, part: Part, epoch: int, span: slice) -> _Block:
        """Give neighbouring batches as layer 0 takes them."""
        samples = [self.batches.batch(epoch, index) for index in range(span.start, span.stop)]
        neutral = None
        if self.config.has_readout:
            neutral = joined([Batch(each.images, labels=each.labels) for each in samples])
        if self.config.streams == 1:
            train = joined([Batch(each.images, labels=each.labels) for each in samples])
            return _Block(0, train, None)
        wrong = self._wrong_classes(part.chapter)
        train = joined(
            [
                Batch(each.images, labels=each.labels, negative_labels=wrong[each.samples])
                for each in samples
            ]
        )
        return _Block(0, train, neutral)

    def _passed_on(self, block: _Block) -> _Block:
        layer = self.layer(block.depth)
        neutral = layer.pass_neutral(block.neutral) if block.neutral is not None else None
        return _Block(block.depth + 1, layer.pass_on(block.train), neutral)

    def _steps_of(self, block: _Block) -> Iterator[tuple[Batch | None, Batch]]:
        size = self.config.training.batch_size
        train = parted(block.train, size)
        neutral = parted(block.neutral, size) if block.neutral is not None else [None] * len(train)
        return zip(neutral, train, strict=True)

    # ---- negatives -----------------------------------------------------------------------

    def _wrong_classes(self, chapter: int) -> Tensor:
        """Give the wrong class of each of this worker's samples in a chapter."""
        mode, classes = self.config.training.negatives.mode, self.resolved.facts.classes
        adaptive = self.plan.negatives_of(chapter)
        if adaptive is not None:
            return self._negatives[adaptive]
        purpose = ('fixed',) if mode == 'fixed' else ('chapter', chapter)
        return random_labels(self.dataset.y_train, classes, self.config.seed, *purpose)

    def _likely_wrong(self, chapter: int) -> Tensor:
        """Choose a wrong class for each of this worker's samples by a chapter's network."""
        chosen = []
        for span in chunks(len(self.dataset.y_train), self._scored_at_once):
            self._check()
            scores = self.scores(self.dataset.x_train[span])
            labels, purpose = self.dataset.y_train[span], ('likely', chapter, span.start)
            chosen.append(adaptive_labels(scores, labels, self.config, *purpose))
        return torch.cat(chosen)

    @property
    def _scored_at_once(self) -> int:
        return max(1, BLOCK_SAMPLES // self.resolved.candidates)

    def scores(self, images: Tensor) -> list[Tensor]:
        """
        Score the classes of images by the network that is loaded.

        :returns: float32 [samples, classes] of each layer, first to last.
        """
        batch, found = Batch(images), []
        for layer in range(self.plan.layers):
            batch, scores = self.layer(layer).evaluate(batch)
            found.append(scores.cpu())
        return found

    def own_accuracy(self) -> float:
        """Accuracy of the network that is loaded on this worker's own training data."""
        right = 0
        for span in chunks(len(self.dataset.y_train), self._scored_at_once):
            self._check()
            scores = self.scores(self.dataset.x_train[span])
            together = combine(scores, self.config.classification.layers)
            right += correct(together, self.dataset.y_train[span])
        return right / len(self.dataset.y_train)
