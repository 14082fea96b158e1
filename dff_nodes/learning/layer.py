# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One Forward-Forward layer: trains on its own goodness and passes its activity on."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.goodness import goodness, normalize, rectify
from dff_nodes.learning.inputs import ActivityInput, ImageInput, Input
from dff_nodes.learning.losses import pair_loss
from dff_nodes.learning.optimizers import LearningRate, check_same_tensors, make_optimizer
from dff_nodes.learning.peer_normalization import PeerNormalization
from dff_nodes.learning.readout import Readout
from dff_nodes.learning.wire import to_wire
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.seeds import generator


@dataclass(frozen=True)
class TrainFigures:
    """What one training step showed; means over the batch."""

    loss: float
    positive_goodness: float
    negative_goodness: float
    separation: float
    """share of pairs whose positive has the higher goodness"""
    learning_rate: float


class ForwardForwardLayer:
    """
    A dense layer whose state is a pure function of the run and the batches it was given.

    Trains on pairs of positive and negative samples by a loss of its own; no gradient enters
    or leaves. What it passes on is the activity from before its update, so nothing is computed
    twice.

    :param index: position in the network; layer 0 takes images.
    """

    def __init__(self, resolved: ResolvedRun, index: int, device: torch.device) -> None:
        shape = resolved.layers[index]
        self.name = shape.name
        self.units = shape.units
        self.measure = shape.config.rule.goodness
        self.wire = getattr(torch, resolved.config.stream.dtype)
        self.candidates = resolved.candidates
        self.device = device
        self.input = _input(resolved, index, device)
        self.linear = _initial_linear(resolved.config.seed, index, shape.inputs, shape.units).to(
            device
        )
        self.loss = pair_loss(shape.config.rule, shape.units)
        self.optimizer = make_optimizer(shape.optimizer, dict(self.linear.named_parameters()))
        self.rate = LearningRate(
            resolved.config.training.learning_rate,
            shape.optimizer.learning_rate,
            resolved.train_steps,
        )
        weight = shape.config.rule.peer_normalization
        self.peers = PeerNormalization(weight, shape.units, device) if weight > 0 else None
        self.readout = _readout(resolved, shape.units, device)

    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """Take one step; give what passes on and what the step showed."""
        preactivation = self.input.pair(self.linear, batch)
        activity, energies = rectify(preactivation)
        positive, negative = goodness(energies, self.units, self.measure).chunk(2)
        loss = self.loss(positive, negative)
        total = loss
        if self.peers:
            total = loss + self.peers.loss(preactivation[: len(positive)])
        total.backward()
        rate = self.rate.at(self.optimizer.steps_done)
        self.optimizer.step(rate)
        with torch.no_grad():
            passed = to_wire(normalize(activity, energies.detach()), self.wire)
            figures = _figures(loss, positive, negative, rate)
        positive_out, negative_out = passed.chunk(2)
        return Batch(positive_out, negative_out), figures

    def score(self, batch: Batch) -> tuple[Batch, Tensor]:
        """
        Train the read-out on the neutral label; give what passes on and the class logits.

        :returns: the batch for the next layer, and float32 [samples, classes].
        """
        activity = self._neutral_activity(batch)
        scores = self.readout.train(activity, batch.labels.to(self.device))
        return Batch(to_wire(activity, self.wire), labels=batch.labels), scores

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[Batch, Tensor]:
        """
        Score classes without training: each by its goodness, or all by the read-out.

        :returns: the batch for the next layer, and float32 [samples, classes].
        """
        if self.candidates == 1:
            activity = self._neutral_activity(batch)
            return Batch(to_wire(activity, self.wire)), self.readout.scores(activity)
        activity, energies = rectify(self.input.candidates(self.linear, batch))
        scores = goodness(energies, self.units, self.measure).view(-1, self.candidates)
        passed = to_wire(normalize(activity, energies), self.wire)
        return Batch(passed, candidates=self.candidates), scores

    @torch.no_grad()
    def _neutral_activity(self, batch: Batch) -> Tensor:
        return normalize(*rectify(self.input.neutral(self.linear, batch)))

    def parameters(self) -> dict[str, Tensor]:
        """Learned tensors by name."""
        named = {'weight': self.linear.weight, 'bias': self.linear.bias}
        if self.readout:
            named['readout.weight'] = self.readout.linear.weight
            named['readout.bias'] = self.readout.linear.bias
        return {name: tensor.detach() for name, tensor in named.items()}

    def weights_sha256(self) -> str:
        """Digest of the learned tensors: names, shapes and little-endian float32 bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.parameters().items()):
            digest.update(f'{name}{list(tensor.shape)}'.encode())
            digest.update(memoryview(tensor.cpu().contiguous().numpy()).cast('B'))
        return digest.hexdigest()

    def state(self) -> dict[str, Tensor]:
        """All tensors that decide what the layer does next, for a checkpoint."""
        tensors = self.parameters() | _prefixed('optimizer', self.optimizer.state())
        if self.readout:
            tensors |= _prefixed('readout.optimizer', self.readout.optimizer.state())
        if self.peers:
            tensors['peers.mean_activity'] = self.peers.mean_activity
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """
        Continue from what `state` gave; changes nothing if it raises.

        :raises ValueError: naming a tensor that is missing, too many or of another shape.
        """
        check_same_tensors(self.state(), tensors)
        for name, parameter in self.parameters().items():
            parameter.copy_(tensors[name])
        self.optimizer.load_state(_without_prefix('optimizer', tensors))
        if self.readout:
            self.readout.optimizer.load_state(_without_prefix('readout.optimizer', tensors))
        if self.peers:
            self.peers.mean_activity = tensors['peers.mean_activity'].to(self.device)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f'{prefix}.{name}': tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors of a prefix out of a state."""
    start = f'{prefix}.'
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _input(resolved: ResolvedRun, index: int, device: torch.device) -> Input:
    shape = resolved.layers[index]
    if index > 0:
        return ActivityInput(shape.inputs, device)
    label, facts = resolved.config.data.label, resolved.facts
    return ImageInput(
        facts.features,
        facts.classes,
        label.position,
        label.amplitude,
        resolved.config.training.readout.neutral,
        facts.scale,
        device,
    )


def _initial_linear(seed: int, index: int, inputs: int, units: int) -> nn.Linear:
    """Weights from N(0, 1 / inputs), biases 0, drawn on the CPU whatever the device."""
    linear = nn.Linear(inputs, units)
    with torch.no_grad():
        linear.weight.normal_(
            0, 1 / math.sqrt(inputs), generator=generator(seed, 'weights', index)
        )
        linear.bias.zero_()
    return linear


def _readout(resolved: ResolvedRun, units: int, device: torch.device) -> Readout | None:
    if not resolved.config.has_readout:
        return None
    training = resolved.config.training
    return Readout(units, resolved.facts.classes, training, resolved.train_steps, device)


def _figures(loss: Tensor, positive: Tensor, negative: Tensor, rate: float) -> TrainFigures:
    figures = torch.stack(
        (
            loss.detach(),
            positive.detach().mean(),
            negative.detach().mean(),
            (positive > negative).float().mean(),
        )
    )
    return TrainFigures(*figures.tolist(), rate)
