# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A Forward-Forward layer: high goodness for positive samples, low for negative ones."""

from __future__ import annotations

import math
from pkgutil import resolve_name

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.convolution import Convolution
from dff_nodes.learning.goodness import goodness, normalize, rectify
from dff_nodes.learning.inputs import make_input
from dff_nodes.learning.layer import Layer, TrainFigures, prefixed, train_figures, without_prefix
from dff_nodes.learning.optimizers import LayerOptimizer
from dff_nodes.learning.peer_normalization import PeerNormalization
from dff_nodes.learning.readout import Readout
from dff_nodes.learning.wire import to_wire
from dff_nodes.runs.layers import ConvolutionLayer
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.seeds import generator


class TwoStreamLayer(Layer):
    """
    A dense or convolutional layer that trains on pairs of positive and negative samples.

    Goodness of maps is over all their activities, before pooling.
    """

    def __init__(self, resolved: ResolvedRun, index: int, device: torch.device) -> None:
        super().__init__(resolved, index, device)
        shape = self.shape
        self.measure = shape.config.rule.goodness
        self.candidates = resolved.candidates
        self.input = make_input(resolved, index, device)
        self.linear = _initial_map(resolved, index).to(device)
        self.pool = getattr(shape.config, 'pool', 1)
        self.activities = _activities(resolved, index)
        rule = shape.config.rule
        self.loss = resolve_name(rule.implementation)(rule, self.activities)
        training = resolved.config.training
        self.optimizer = LayerOptimizer(
            shape.optimizer,
            shape.config.learning_rate or training.learning_rate,
            resolved.train_steps,
            {'weight': self.linear.weight},
            {'bias': self.linear.bias},
        )
        units, weight = shape.output_shape[-1], rule.peer_normalization
        self.peers = PeerNormalization(weight, units, device) if weight > 0 else None
        self.readout: Readout | None = None
        if shape.readout_classes:
            self.readout = Readout(
                shape.units, shape.readout_classes, training, resolved.train_steps, device
            )

    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """See Layer.train."""
        preactivation = self.input.pair(self.linear, batch)
        activity, energies = rectify(preactivation)
        positive, negative = goodness(energies, self.activities, self.measure).chunk(2)
        loss = self.loss(positive, negative)
        total = loss
        if self.peers:
            total = loss + self.peers.loss(preactivation[: len(positive)])
        total.backward()
        rate = self.optimizer.rate
        self.optimizer.step()
        with torch.no_grad():
            passed = to_wire(self._passed(activity, energies.detach()), self.wire)
            figures = train_figures(loss, positive, negative, rate)
        positive_out, negative_out = passed.chunk(2)
        return Batch(positive_out, negative_out), figures

    @torch.no_grad()
    def pass_on(self, batch: Batch) -> Batch:
        """See Layer.pass_on."""
        passed = self._passed(*rectify(self.input.pair(self.linear, batch)))
        return Batch(*to_wire(passed, self.wire).chunk(2))

    def pass_neutral(self, batch: Batch) -> Batch:
        """See Layer.pass_neutral."""
        passed = to_wire(self._neutral_activity(batch), self.wire)
        return Batch(passed, labels=batch.labels)

    def score(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Train the read-out on the neutral label; see Layer.score."""
        activity = self._neutral_activity(batch)
        scores = self.readout.train(activity.flatten(1), batch.labels.to(self.device))
        return Batch(to_wire(activity, self.wire), labels=batch.labels), scores

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Score each class by its goodness, or all by the read-out; see Layer.evaluate."""
        if self.candidates == 1:
            activity = self._neutral_activity(batch)
            passed = Batch(to_wire(activity, self.wire))
            return passed, self.readout.scores(activity.flatten(1))
        activity, energies = rectify(self.input.candidates(self.linear, batch))
        scores = goodness(energies, self.activities, self.measure).view(-1, self.candidates)
        passed = to_wire(self._passed(activity, energies), self.wire)
        return Batch(passed, candidates=self.candidates), scores

    @torch.no_grad()
    def _neutral_activity(self, batch: Batch) -> Tensor:
        return self._passed(*rectify(self.input.neutral(self.linear, batch)))

    def _passed(self, activity: Tensor, energies: Tensor) -> Tensor:
        """Normalise what passes on: [rows, units], or [rows, height, width, channels]."""
        if activity.dim() == 2:
            return normalize(activity, energies)
        if self.pool > 1:
            activity, energies = max_pool2d(activity, self.pool), None
        return normalize(activity, energies).permute(0, 2, 3, 1).contiguous()

    def learned(self) -> dict[str, Tensor]:
        """See Layer.learned."""
        named = {'weight': self.linear.weight, 'bias': self.linear.bias}
        if self.readout:
            named['readout.weight'] = self.readout.linear.weight
            named['readout.bias'] = self.readout.linear.bias
        return named

    def moments(self) -> dict[str, Tensor]:
        """See Layer.moments."""
        tensors = prefixed('optimizer', self.optimizer.state())
        if self.readout:
            tensors |= prefixed('readout.optimizer', self.readout.optimizer.state())
        if self.peers:
            tensors['peers.mean_activity'] = self.peers.mean_activity
        return tensors

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """See Layer.load_moments."""
        self.optimizer.load_state(without_prefix('optimizer', tensors))
        if self.readout:
            self.readout.optimizer.load_state(without_prefix('readout.optimizer', tensors))
        if self.peers:
            self.peers.mean_activity = tensors['peers.mean_activity'].to(self.device)


def _initial_map(resolved: ResolvedRun, index: int) -> nn.Linear | Convolution:
    """Weights from N(0, 1 / inputs), biases 0, drawn on the CPU whatever the device."""
    shape = resolved.layers[index]
    config = shape.config
    if isinstance(config, ConvolutionLayer):
        drawn: nn.Linear | Convolution = Convolution(
            shape.input_shape[2],
            config.channels,
            config.kernel,
            config.stride,
            config.pixels_around,
            groups=config.groups,
        )
    else:
        drawn = nn.Linear(shape.inputs, shape.units)
    with torch.no_grad():
        inputs = drawn.weight[0].numel()
        source = generator(resolved.config.seed, 'weights', index)
        drawn.weight.normal_(0, 1 / math.sqrt(inputs), generator=source)
        drawn.bias.zero_()
    return drawn.to(memory_format=torch.channels_last) if drawn.weight.dim() == 4 else drawn


def _activities(resolved: ResolvedRun, index: int) -> int:
    """Numbers that goodness is the sum or mean of."""
    shape = resolved.layers[index]
    config = shape.config
    if not isinstance(config, ConvolutionLayer):
        return shape.units
    around = 2 * config.pixels_around - config.kernel
    rows, columns = ((size + around) // config.stride + 1 for size in shape.input_shape[:2])
    return rows * columns * config.channels
