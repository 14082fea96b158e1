# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How sure each layer must be to answer by itself, chosen on samples with known classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dff_nodes.learning.early_exit import Confidence, confidence, true_confidence

GRID = 40
"""values of k that are tried"""
CLEARLY = 0.01
"""share of all MACs: less is not worth another kind of confidence"""


@dataclass(frozen=True)
class Measured:
    """
    What is known of each depth: the scores of the layers up to there, added up.

    The statistics are of training samples; thresholds are chosen on others.
    """

    kind: Confidence
    mean: Tensor
    """of the true class's confidence on training samples: float64 [depths]"""
    deviation: Tensor
    """likewise"""
    confidence: Tensor
    """of the answer on validation samples: float32 [depths, samples]"""
    right: Tensor
    """whether that answer is right: bool [depths, samples]"""

    @staticmethod
    def of(
        training: list[Tensor],
        training_labels: Tensor,
        validation: list[Tensor],
        validation_labels: Tensor,
        kind: Confidence,
    ) -> Measured:
        """
        Measure.

        :param training: of each depth the scores of training samples, float32 [samples, classes].
        """
        true = [true_confidence(each, training_labels, kind).double() for each in training]
        return Measured(
            kind,
            torch.stack([each.mean() for each in true]),
            torch.stack([each.std(correction=0) for each in true]),
            torch.stack([confidence(each, kind) for each in validation]),
            torch.stack([each.argmax(1) == validation_labels for each in validation]),
        )

    def threshold(self, layer: int, k: float | None) -> float | None:
        """Give mean - k * std, None for no exit."""
        return None if k is None else float(self.mean[layer] - k * self.deviation[layer])

    def answered(self, layer: int, k: float | None) -> Tensor:
        """Whether a layer would answer each validation sample that reaches it: bool [samples]."""
        threshold = self.threshold(layer, k)
        if threshold is None:
            return torch.zeros(self.confidence.shape[1], dtype=torch.bool)
        return self.confidence[layer] >= threshold


@dataclass(frozen=True)
class Point:
    """What thresholds would bring on the validation samples."""

    accuracy: float
    loss: float
    """accuracy of the whole network minus that, a share"""
    cautious_loss: float
    """with one standard error of what changed, a share"""
    macs_saved: float
    """share"""
    answered: list[int]
    """samples by each layer"""


@dataclass(frozen=True)
class Choice:
    """The thresholds that save most within an allowed loss, and what else there was."""

    kind: Confidence
    ks: list[float | None]
    """of each layer but the last"""
    thresholds: list[float | None]
    point: Point
    curve: list[tuple[float, Point]]
    """one k for all layers, rising, and what it would bring"""


def choose(measured: Measured, macs: list[int], max_loss: float) -> Choice:
    """
    Choose k for each layer: most MACs saved at a loss of no more than so many points.

    Thresholds are mean - k * std (LightFF). Beginning with each k that is allowed for all layers
    alike, one layer after the other takes the k of the grid that saves most while allowed. A few
    hundred combinations are compared on the same samples, so what looks best is partly luck:
    a combination is allowed if its loss *and one standard error of it* are within the limit.

    :param macs: of each layer for one sample.
    :param max_loss: percentage points.
    """
    grid = _grid(measured)
    simulation = _Simulation(measured, macs, grid)
    layers = len(macs) - 1
    curve = [(k, simulation.point([k] * layers)) for k in grid]
    allowed = max_loss / 100 + 1e-9
    best: list[float | None] = [None] * layers
    most = simulation.point(best)
    for k, point in [(None, most), *curve]:
        if point.cautious_loss > allowed:
            continue
        for order in (range(layers), range(layers - 1, -1, -1)):
            ks = _loosened([k] * layers, order, simulation, allowed)
            reached = simulation.point(ks)
            if reached.macs_saved > most.macs_saved:
                best, most = ks, reached
    thresholds = [measured.threshold(layer, k) for layer, k in enumerate(best)]
    return Choice(measured.kind, best, thresholds, most, curve)


def best_choice(choices: list[Choice]) -> Choice:
    """Take the first, which is published, unless another saves clearly more."""
    best = choices[0]
    for other in choices[1:]:
        if other.point.macs_saved >= best.point.macs_saved + CLEARLY:
            best = other
    return best


def _grid(measured: Measured) -> list[float]:
    """Values of k at which another share of the samples would be answered, rising."""
    if len(measured.mean) < 2:
        return []
    spread = measured.deviation[:-1, None].clamp_min(1e-12)
    ks = ((measured.mean[:-1, None] - measured.confidence[:-1]) / spread).flatten().sort().values
    # Between two samples, so that rounding decides on none.
    ks = torch.cat(((ks[1:] + ks[:-1]) / 2, ks[-1:] + 1))
    places = torch.linspace(0, len(ks) - 1, GRID).round().long()
    return sorted(set(ks[places].tolist()))


def _loosened(
    ks: list[float | None],
    order: range,
    simulation: _Simulation,
    allowed: float,
) -> list[float | None]:
    """Give one layer after the other the k that saves most while it is allowed."""
    ks = list(ks)
    for layer in order:
        saved, lost = simulation.varied(ks, layer)
        saved = saved.where(lost <= allowed, -math.inf)
        at = int(saved.argmax())
        if float(saved[at]) > simulation.point(ks).macs_saved:
            ks[layer] = simulation.grid[at]
    return ks


class _Simulation:
    """What thresholds bring, from the scores of the whole network alone."""

    def __init__(self, measured: Measured, macs: list[int], grid: list[float]) -> None:
        self.measured = measured
        self.grid = grid
        self._of_grid = [
            torch.stack([measured.answered(layer, k) for k in grid])
            for layer in range(len(macs) - 1)
        ]
        self.layers = len(macs)
        self.samples = measured.right.shape[1]
        self.costs = torch.tensor(macs, dtype=torch.float64).cumsum(0)
        full = measured.right[-1]
        self.full = int(full.sum())
        self.worse = full & ~measured.right
        """whether a layer's answer is wrong where that of the whole network is right"""
        self.better = ~full & measured.right

    def point(self, ks: list[float | None]) -> Point:
        """Give what one k for each layer but the last brings."""
        answers = [self.measured.answered(layer, k)[None] for layer, k in enumerate(ks)]
        counts, lost, won = self._counted(answers)
        saved, cautious = self._shares(counts, lost, won)
        loss = float(lost - won) / self.samples
        accuracy = (self.full - float(lost - won)) / self.samples
        answered = counts[:, 0].long().tolist()
        return Point(accuracy, loss, float(cautious), float(saved), answered)

    def varied(self, ks: list[float | None], layer: int) -> tuple[Tensor, Tensor]:
        """Give MACs saved and cautious loss for each k of the grid at one layer: [grid]."""
        answers = [self.measured.answered(each, k)[None] for each, k in enumerate(ks)]
        answers[layer] = self._of_grid[layer]
        return self._shares(*self._counted(answers))

    def _counted(self, answers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """
        Count who answers what.

        :param answers: of each layer but the last, bool [variants or 1, samples].
        :returns: float64 [layers, variants] samples that each layer answers, and of all of them
            those that turn wrong and those that turn right: [variants].
        """
        variants = max((len(each) for each in answers), default=1)
        reaches = torch.ones((variants, self.samples), dtype=torch.bool)
        counts, lost, won = [], 0, 0
        for layer in range(self.layers):
            is_last = layer == self.layers - 1
            here = reaches if is_last else reaches & answers[layer]
            counts.append(here.sum(1).double())
            lost = lost + (here & self.worse[layer]).sum(1).double()
            won = won + (here & self.better[layer]).sum(1).double()
            reaches = reaches & ~here
        return torch.stack(counts), lost, won

    def _shares(self, counts: Tensor, lost: Tensor, won: Tensor) -> tuple[Tensor, Tensor]:
        """Give MACs saved and cautious loss: float64 [variants]."""
        saved = 1 - (self.costs @ counts) / (self.samples * self.costs[-1])
        return saved, (lost - won + (lost + won).sqrt()) / self.samples
