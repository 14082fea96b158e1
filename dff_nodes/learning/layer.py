# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What every layer can do, whatever it is made of and whatever it learns from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.optimizers import check_same_tensors
from dff_nodes.runs.resolve import ResolvedRun


@dataclass(frozen=True)
class TrainFigures:
    """
    What one training step showed; means over the batch.

    Of a rule of one stream, the goodness of positives is the score of the true class, that of
    negatives the highest score of a wrong one.
    """

    loss: float
    positive_goodness: float
    negative_goodness: float
    separation: float
    """share of samples whose positive has the higher goodness"""
    learning_rate: float


class Diverged(RuntimeError):
    """A layer left the finite numbers; the message says which, where, and what to do."""

    def __init__(self, layer: str, what: str, when: str) -> None:
        super().__init__(
            f'the {what} of {layer} is not finite {when}: training diverged; lower '
            'training.optimizer.learning_rate, or look at the data'
        )


def train_figures(loss: Tensor, positive: Tensor, negative: Tensor, rate: float) -> TrainFigures:
    """
    Sum up a step.

    :param positive: goodness of each positive sample, float32 [samples]; `negative` likewise.
    """
    figures = torch.stack(
        (
            loss.detach(),
            positive.detach().mean(),
            negative.detach().mean(),
            (positive > negative).float().mean(),
        )
    )
    return TrainFigures(*figures.tolist(), rate)


class Layer(ABC):
    """
    One layer, whose state is a pure function of the run and the batches it was given.

    It learns from a loss of its own; no gradient enters or leaves. What it passes on is what it
    computed before its update, so nothing is computed twice.

    :param index: position in the network; layer 0 takes images.
    """

    def __init__(self, resolved: ResolvedRun, index: int, device: torch.device) -> None:
        self.shape = resolved.layers[index]
        self.name = self.shape.name
        self.wire = getattr(torch, resolved.config.stream.dtype)
        self.device = device

    @abstractmethod
    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """Take one step; give what passes on and what the step showed."""

    @abstractmethod
    def score(self, batch: Batch) -> tuple[Batch, Tensor]:
        """
        Handle a SCORE item: class scores of samples that will be trained on later.

        :returns: the batch for the next layer, and float32 [samples, classes].
        """

    @abstractmethod
    def evaluate(self, batch: Batch) -> tuple[Batch, Tensor]:
        """
        Score classes without training.

        :returns: the batch for the next layer, and float32 [samples, classes].
        """

    @abstractmethod
    def pass_on(self, batch: Batch) -> Batch:
        """Give what passes on of a TRAIN item without learning from it."""

    def pass_neutral(self, batch: Batch) -> Batch:
        """Give what passes on of a SCORE item without learning from it."""
        raise ValueError(f'{self.name} learns by a rule of one stream, which has no SCORE items')

    @abstractmethod
    def learned(self) -> dict[str, Tensor]:
        """Learned tensors by name, running statistics of normalisation included."""

    @abstractmethod
    def moments(self) -> dict[str, Tensor]:
        """All other tensors that decide what the layer does next."""

    @abstractmethod
    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Take what `moments` gave."""

    def parameters(self) -> dict[str, Tensor]:
        """Learned tensors by name, cut from their gradients."""
        return {name: tensor.detach() for name, tensor in self.learned().items()}

    def weights_sha256(self) -> str:
        """Digest of the learned tensors: names, shapes and little-endian float32 bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.parameters().items()):
            digest.update(f'{name}{list(tensor.shape)}'.encode())
            digest.update(memoryview(tensor.cpu().contiguous().numpy()).cast('B'))
        return digest.hexdigest()

    def state(self) -> dict[str, Tensor]:
        """All tensors that decide what the layer does next, for a checkpoint."""
        return self.parameters() | self.moments()

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """
        Continue from what `state` gave; changes nothing if it raises.

        :raises ValueError: naming a tensor that is missing, too many or of another shape.
        """
        check_same_tensors(self.state(), tensors)
        for name, tensor in self.learned().items():
            tensor.copy_(tensors[name])
        self.load_moments({name: tensors[name] for name in self.moments()})

    @torch.no_grad()
    def load_learned(self, tensors: dict[str, Tensor]) -> None:
        """
        Take what `parameters` gave of a layer that is only to pass on from now on.

        :raises ValueError: naming a tensor that is missing, too many or of another shape.
        """
        check_same_tensors(self.parameters(), tensors)
        for name, tensor in self.learned().items():
            tensor.copy_(tensors[name])


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before the names of tensors."""
    return {f'{prefix}.{name}': tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors of a prefix out of a state."""
    start = f'{prefix}.'
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def make_layer(resolved: ResolvedRun, index: int, device: torch.device) -> Layer:
    """Build the layer that a run's configuration describes, with its initial weights."""
    # Each kind of layer imports this module.
    if resolved.config.streams == 2:
        from dff_nodes.learning.two_stream_layer import TwoStreamLayer

        return TwoStreamLayer(resolved, index, device)
    if resolved.is_graph:
        from dff_nodes.learning.full_graph_layer import FullGraphLayer

        return FullGraphLayer(resolved, index, device)
    from dff_nodes.learning.one_stream_layer import OneStreamLayer

    return OneStreamLayer(resolved, index, device)
