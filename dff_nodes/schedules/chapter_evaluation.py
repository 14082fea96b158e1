# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The accuracy of the network that a chapter ends with."""

from __future__ import annotations

import torch
from torch import Tensor

from dff_nodes.data.batches import chunks
from dff_nodes.data.dataset import Dataset
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.classification import combine, correct
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapters import ChapterPlan
from dff_nodes.schedules.plan import Split
from dff_nodes.schedules.stream import Evaluation


class ChapterEvaluation:
    """
    Scores samples layer by layer, so that only one layer is in memory at a time.

    :param dataset: with the test set, and the training samples that are evaluated.
    """

    def __init__(self, resolved: ResolvedRun, dataset: Dataset, device: torch.device) -> None:
        self.resolved = resolved
        self.plan = ChapterPlan(resolved)
        self.dataset = dataset
        self.device = device
        self._arriving: dict[Split, list[Batch]] = {}
        self._scores: dict[Split, list[Tensor]] = {}

    def begin(self, chapter: int, splits: list[Split]) -> None:
        """Begin with what is due behind a chapter and not known yet."""
        self._chapter = chapter
        self._scores = {split: [] for split in splits}
        self._arriving = {}
        for split in self._scores:
            images, _ = self._samples(split)
            spans = chunks(len(images), self.resolved.evaluation_batch)
            self._arriving[split] = [Batch(images[span]) for span in spans]

    def add_layer(self, index: int, learned: dict[str, Tensor]) -> None:
        """Let all samples pass the next layer."""
        layer = make_layer(self.resolved, index, self.device)
        layer.load_learned(learned)
        for split, arriving in self._arriving.items():
            passed, scores = zip(*(layer.evaluate(each) for each in arriving), strict=True)
            self._arriving[split] = list(passed)
            self._scores[split].append(torch.cat(scores).cpu())

    def finish(self) -> list[Evaluation]:
        """Give the accuracies once all layers were added."""
        epoch = self.plan.epochs(self._chapter)[-1]
        return [self._evaluation(split, epoch) for split in self._scores]

    def _evaluation(self, split: Split, epoch: int) -> Evaluation:
        scores, (_, labels) = self._scores[split], self._samples(split)
        together = combine(scores, self.resolved.config.classification.layers)
        total, *each = (correct(one, labels) / len(labels) for one in (together, *scores))
        return Evaluation(epoch, split, len(labels), total, each)

    def _samples(self, split: Split) -> tuple[Tensor, Tensor]:
        if split == 'test':
            return self.dataset.x_test, self.dataset.y_test
        count = self.plan.evaluated_samples('train')
        return self.dataset.x_train[:count], self.dataset.y_train[:count]
