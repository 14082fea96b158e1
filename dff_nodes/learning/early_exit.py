# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer answers the samples that it is sure of, LightFF 2404.05241; the others go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.classification import Layers
from dff_nodes.runs.resolve import ResolvedRun

Confidence = Literal['score', 'margin']


def confidence(scores: Tensor, kind: Confidence) -> Tensor:
    """
    How sure an answer is, without its label.

    The published code compares the score of the test sample's true class instead, which it could
    not know.

    :param scores: float32 [..., classes].
    :returns: [...]: the highest score, or by how much it exceeds the second.
    """
    if kind == 'score' or scores.shape[-1] < 2:
        return scores.amax(-1)
    best, second = scores.topk(2, dim=-1).values.unbind(-1)
    return best - second


def true_confidence(scores: Tensor, labels: Tensor, kind: Confidence) -> Tensor:
    """
    Confidence in the true class, negative margins included; for training data.

    :param scores: float32 [samples, classes]; labels: int64 [samples].
    """
    true = scores.gather(1, labels[:, None])
    if kind == 'score' or scores.shape[1] < 2:
        return true.squeeze(1)
    return true.squeeze(1) - scores.scatter(1, labels[:, None], -torch.inf).amax(1)


def scores_so_far(before: Tensor | None, scores: Tensor, layer: int, layers: Layers) -> Tensor:
    """
    Add a layer's scores to those of the layers before, in the order of `combine`.

    So those of the last layer are what classifies when all samples pass all layers.

    :param before: float32 [samples, classes], what this gave for the layer before.
    """
    first = {'all': 0, 'without_first': 1, 'last': layer}[layers]
    return scores if layer <= first else before + scores


@dataclass(frozen=True)
class Parted:
    """A batch of which a layer has answered some samples."""

    passed_on: Batch
    rows: Tensor
    """int64 [answered], positions of the answered ones within the item, ascending"""
    scores: Tensor
    """float32 [answered, classes], of the layers up to this one"""


class EarlyExit:
    """
    Parts the batches of an evaluation at one layer.

    A sample is answered where its confidence reaches the layer's threshold, and in any case by
    the last layer. What goes on carries its position in the item and, where the next layer adds
    to them, its scores so far.
    """

    def __init__(self, resolved: ResolvedRun, layer: int) -> None:
        config = resolved.config.early_exit
        self.layer = layer
        self.layers = resolved.config.classification.layers
        self.is_last = layer + 1 == len(resolved.layers)
        self.threshold = None if self.is_last else config.thresholds[layer]
        self.kind: Confidence = config.confidence
        self.classes = resolved.facts.classes
        self.carries = not self.is_last and resolved.adds_up_scores(layer + 1)
        self.passed_shape = resolved.layers[layer].passed_shape
        self.candidates = resolved.candidates
        self.wire = getattr(torch, resolved.config.stream.dtype)

    def part(self, batch: Batch, passed: Batch, scores: Tensor) -> Parted:
        """
        Split what a layer made of a batch.

        :param batch: what arrived; `passed` what the layer would pass on of all of it.
        :param scores: float32 [samples, classes], of this layer.
        """
        rows = torch.arange(batch.samples) if batch.rows is None else batch.rows
        total = scores_so_far(batch.running, scores.cpu(), self.layer, self.layers)
        goes = ~self.answers(total)
        return Parted(
            replace(
                passed,
                positive=self._kept(passed, goes),
                rows=rows[goes],
                running=total[goes] if self.carries else None,
            ),
            rows[~goes],
            total[~goes],
        )

    def answers(self, scores: Tensor) -> Tensor:
        """
        Whether this layer answers, for each sample: bool [samples].

        :param scores: float32 [samples, classes], of the layers up to this one.
        """
        if self.is_last:
            return torch.ones(len(scores), dtype=torch.bool)
        if self.threshold is None:
            return torch.zeros(len(scores), dtype=torch.bool)
        return confidence(scores, self.kind) >= self.threshold

    def nothing(self) -> Parted:
        """Give what becomes of an item whose samples were all answered before."""
        rows = torch.empty(0, dtype=torch.int64)
        scores = torch.empty((0, self.classes))
        positive = torch.empty((0, *self.passed_shape), dtype=self.wire)
        running = scores if self.carries else None
        batch = Batch(positive, candidates=self.candidates, rows=rows, running=running)
        return Parted(batch, rows, scores)

    def _kept(self, passed: Batch, goes: Tensor) -> Tensor:
        """Take the rows of the samples that go on, those of all candidates."""
        if bool(goes.all()):
            return passed.positive
        goes = goes.repeat_interleave(passed.candidates)
        return passed.positive[goes.to(passed.positive.device)]


def joined(parts: list[tuple[Tensor, Tensor]], samples: int) -> tuple[Tensor, Tensor]:
    """
    Put together what the layers answered of one item.

    :param parts: of each layer the positions int64 [answered] and float32 [answered, classes].
    :returns: float32 [samples, classes], and which layer answered each: int64 [samples].
    :raises ValueError: unless each sample was answered once.
    """
    rows = torch.cat([rows for rows, _ in parts])
    times = torch.bincount(rows, minlength=samples)
    wrong = (times != 1).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(f'sample {first} was answered {int(times[first])} times, 1 is right')
    scores = torch.empty((samples, parts[0][1].shape[1]))
    scores[rows] = torch.cat([scores for _, scores in parts])
    answered_by = torch.empty(samples, dtype=torch.int64)
    each = [torch.full_like(rows, layer) for layer, (rows, _) in enumerate(parts)]
    answered_by[rows] = torch.cat(each)
    return scores, answered_by


def make_early_exit(resolved: ResolvedRun, layer: int) -> EarlyExit | None:
    """Make what parts the batches at a layer; None where all samples pass all layers."""
    return EarlyExit(resolved, layer) if resolved.has_early_exit else None
