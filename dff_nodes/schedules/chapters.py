# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Pipeline Forward-Forward: who trains which layer in which chapter, and what that needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dff_nodes.runs.resolve import DTYPE_BYTES, ResolvedRun

if TYPE_CHECKING:  # imports PyTorch, which `dff check` does without
    from dff_nodes.schedules.plan import Split

BLOCK_SAMPLES = 2048
"""that pass the layers before at once; part of the arithmetic, so it is the same everywhere"""
CLASS_BYTES = 8
"""of one wrong class that travels between workers, int64"""


COORDINATOR = 65535
"""number of the coordinator among those that make and take parts, as in PartRequest.msg"""


@dataclass(frozen=True, order=True)
class Part:
    """
    What is made at one place and used at others: a layer as it is after a chapter.

    Behind the last layer's number comes that of the wrong classes that the network of this
    chapter finds likely (adaptive negatives), and behind that, at chapter 0, that of the training
    set, where the coordinator sends it.
    """

    chapter: int
    layer: int


@dataclass(frozen=True)
class Need:
    """What one part needs of another."""

    part: Part
    whole: bool
    """with all that decides how it goes on training; else what it has learned"""


class ChapterPlan:
    """
    The parts of a run as a graph, the same for every schedule with chapters.

    Layer l of chapter c begins where layer l of chapter c - 1 ended, and takes what the layers
    before it give, as they are at the end of chapter c. The schedules differ in who makes which
    part (`maker`), and, where data is private, on which samples.
    """

    def __init__(self, resolved: ResolvedRun) -> None:
        self.resolved = resolved
        config = resolved.config
        self.schedule = config.schedule
        self.chapters = resolved.chapters
        self.epochs_each = config.training.epochs // self.chapters
        self.layers = len(config.network)
        self.workers = config.workers
        adaptive = config.streams == 2 and config.training.negatives.mode == 'adaptive'
        self._lag = resolved.lag_chapters if adaptive else self.chapters
        # A ring of one worker has nobody to meet.
        ring = self.workers > 1
        self.moments_stay = ring and getattr(self.schedule, 'moments', 'travel') == 'stay'
        """whether each worker keeps the optimizer's state of a layer, rather than pass it on"""
        self.passes = 1 if self.schedule.arrivals == 'each_chapter' else self.epochs_each
        """how often all samples of a chapter pass the layers before one"""
        self.own_share = getattr(self.schedule, 'own_share', 0.0) if ring else 0.0
        """weight of a worker's own version of a layer, see FederatedSchedule"""

    @property
    def negatives(self) -> int:
        """Number of the parts that hold adaptive negatives."""
        return self.layers

    @property
    def training_set(self) -> Part:
        """What the coordinator sends where workers have no data of their own."""
        return Part(0, self.layers + 1)

    def exists(self, part: Part) -> bool:
        """Whether a run has such a part."""
        if part == self.training_set:
            return self.schedule.data == 'sent'
        return part.chapter < self.chapters and part.layer <= self.negatives

    def is_layer(self, part: Part) -> bool:
        """Whether a part is a trained layer."""
        return part.layer < self.layers

    def epochs(self, chapter: int) -> range:
        """Epochs of a chapter."""
        return range(chapter * self.epochs_each, (chapter + 1) * self.epochs_each)

    def arriving_bytes(self, layer: int) -> int:
        """All samples of a chapter, as they arrive at a layer."""
        resolved = self.resolved
        rows = 1 if layer == 0 else resolved.config.streams
        rows += resolved.config.has_readout
        return resolved.chapter_samples(0) * self.passes * rows * resolved.row_bytes(layer)

    def keeps_arrivals(self, layer: int) -> bool:
        """Whether what arrives at a layer is kept: for other epochs, or for the next layer."""
        if self.schedule.arrivals == 'each_chapter':
            return True
        if self.schedule.name == 'single_layer':
            return False
        return self.arriving_bytes(layer) <= self.schedule.cache_mb * 1e6

    def steps_before(self, chapter: int) -> int:
        """Training steps that every layer has taken before a chapter."""
        return self._steps[chapter]

    @cached_property
    def _steps(self) -> list[int]:
        steps = [0]
        for chapter in range(self.chapters):
            steps.append(steps[-1] + self.resolved.chapter_steps(chapter))
        return steps

    # ---- the graph -----------------------------------------------------------------------

    def parts(self) -> Iterator[Part]:
        """All parts, each behind those that it needs."""
        for chapter in range(self.chapters):
            for layer in range(self.layers):
                yield Part(chapter, layer)
            if chapter + self._lag < self.chapters:
                yield Part(chapter, self.negatives)

    def maker(self, part: Part) -> int:
        """Worker that makes a part, or COORDINATOR."""
        if part == self.training_set:
            return COORDINATOR
        if self.schedule.name == 'single_layer':
            return min(part.layer, self.layers - 1)
        return part.chapter % self.workers

    def parts_of(self, worker: int) -> list[Part]:
        """Parts that a worker makes, in its order."""
        return self._of_workers.get(worker, [])

    @cached_property
    def _of_workers(self) -> dict[int, list[Part]]:
        found: dict[int, list[Part]] = {}
        for part in self.parts():
            found.setdefault(self.maker(part), []).append(part)
        return found

    def count_of(self, worker: int) -> int:
        """How many parts a worker makes."""
        return len(self.parts_of(worker))

    def place(self, part: Part) -> int:
        """Position of a part among those of its maker."""
        return self._place[part]

    def takers(self, part: Part) -> set[int]:
        """Nodes that may ask for a part: workers, COORDINATOR."""
        if part == self.training_set:
            return set(range(self.workers))
        found = {self.maker(user) for user in self._users.get(part, ())}
        final = part.chapter == self.chapters - 1
        if self.is_layer(part) and (final or self.evaluated(part.chapter)):
            found.add(COORDINATOR)
        if self.is_layer(part) and final and self.schedule.name == 'federated':
            found |= set(range(self.workers))  # each measures it on its own data
        return found - {self.maker(part)}

    def needs(self, part: Part) -> list[Need]:
        """What must be there before a part can be made: of its own layer last."""
        if not self.is_layer(part):
            return [Need(Part(part.chapter, layer), False) for layer in range(self.layers)]
        found = [Need(Part(part.chapter, layer), False) for layer in range(part.layer)]
        if part.chapter >= self._lag:
            found.append(Need(Part(part.chapter - self._lag, self.negatives), True))
        if own := self.own_before(part):
            found.append(Need(own, whole=True))
        if part.chapter:
            before = Part(part.chapter - 1, part.layer)
            found.append(Need(before, whole=not self.moments_stay))
        return found

    def own_before(self, part: Part) -> Part | None:
        """What a worker itself made of this layer the last time, if it goes into this part."""
        used = self.moments_stay or self.own_share > 0
        chapter = part.chapter - self.workers
        return Part(chapter, part.layer) if used and chapter >= 0 else None

    def negatives_of(self, chapter: int) -> Part | None:
        """Adaptive negatives that a chapter trains on, None without or before there are any."""
        return Part(chapter - self._lag, self.negatives) if chapter >= self._lag else None

    @property
    def final(self) -> list[Part]:
        """The trained network."""
        return [Part(self.chapters - 1, layer) for layer in range(self.layers)]

    @cached_property
    def _users(self) -> dict[Part, list[Part]]:
        users: dict[Part, list[Part]] = {}
        for part in self.parts():
            for need in self.needs(part):
                users.setdefault(need.part, []).append(part)
        return users

    def is_needed(self, part: Part, done: dict[int, int], evaluated: int) -> bool:
        """
        Whether anybody may still ask for a part.

        The newest part of a worker may turn out torn: what it was made from is kept with it.

        :param done: parts that each worker has made and stored.
        :param evaluated: chapters behind which every evaluation was made.
        """
        evaluate = part.chapter >= evaluated and self.evaluated(part.chapter)
        if self.is_layer(part) and (evaluate or part.chapter == self.chapters - 1):
            return True
        return any(
            self._place[user] >= done.get(self.maker(user), 0) - 1
            for user in self._users.get(part, ())
        )

    @cached_property
    def _place(self) -> dict[Part, int]:
        """Position of each part among those of its maker."""
        counts: dict[int, int] = {}
        places = {}
        for part in self.parts():
            worker = self.maker(part)
            places[part] = counts.get(worker, 0)
            counts[worker] = places[part] + 1
        return places

    # ---- evaluation ----------------------------------------------------------------------

    def evaluated(self, chapter: int) -> list[Split]:
        """What is evaluated with the network of a chapter."""
        evaluation = self.resolved.config.evaluation
        if chapter == self.chapters - 1:
            return ['test', 'train'] if self.evaluated_samples('train') else ['test']
        every = evaluation.every_epochs
        before, behind = chapter * self.epochs_each, (chapter + 1) * self.epochs_each
        return ['test'] if every and behind // every > before // every else []

    def evaluated_samples(self, split: Split) -> int:
        """Samples of an evaluation."""
        facts = self.resolved.facts
        if split == 'test':
            return facts.test_samples
        if self.schedule.name == 'federated':
            return 0  # nobody has all of them
        return min(self.resolved.config.evaluation.train_samples, facts.train_samples)


def part_bytes(plan: ChapterPlan, need: Need) -> int:
    """Payload of a part, without the names of its tensors."""
    resolved = plan.resolved
    if need.part == plan.training_set:
        facts = resolved.facts
        return facts.train_samples * (facts.features * DTYPE_BYTES[facts.dtype] + CLASS_BYTES)
    if not plan.is_layer(need.part):
        return CLASS_BYTES * resolved.chapter_samples(need.part.chapter)
    shape = resolved.layers[need.part.layer]
    gradient = 4 * shape.parameters
    return shape.state_bytes - gradient if need.whole else 4 * shape.parameters
