# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer that learns from samples and their labels, by any local rule of one stream."""

from __future__ import annotations

from dataclasses import replace
from pkgutil import resolve_name

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, pad

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.body import Body, build_body
from dff_nodes.learning.compute import compute_precision
from dff_nodes.learning.inputs import Pixels, as_maps, owned
from dff_nodes.learning.layer import Layer, TrainFigures, prefixed, train_figures, without_prefix
from dff_nodes.learning.optimizers import LayerOptimizer
from dff_nodes.learning.precision import arithmetic
from dff_nodes.learning.rules.graph_rule import GraphRule
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.learning.whitening import Whitening
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.shapes import body_shape
from dff_nodes.seeds import generator


class OneStreamLayer(Layer):
    """
    A body (dense, convolution, block) and the local rule that trains it.

    Behind it the rows are [features] or [height, width, channels], as images are.
    """

    def __init__(self, resolved: ResolvedRun, index: int, device: torch.device) -> None:
        super().__init__(resolved, index, device)
        shape, config = self.shape, self.shape.config
        self.seed, self.index = resolved.config.seed, index
        self.pixels: Pixels | None = None
        if index == 0:
            self.pixels = Pixels(resolved.facts.scale, resolved.config.data.standardize, device)
        own = shape.input_shape
        if shape.carried:
            own = (*own[:2], own[2] - shape.carried)
        self.stem: Whitening | None = None
        if getattr(config, 'stem', 'none') == 'whiten':
            self.stem = Whitening(own[2], device)
        own = body_shape(config, own, f'network[{index}]')
        self.skip = getattr(config, 'skip', 'none')
        layout = torch.channels_last
        self.body = build_body(config, own, self.seed, index).to(device, memory_format=layout)
        self.precision = compute_precision(resolved.config.compute.precision, device)
        if isinstance(self.body, Body):
            self.body.precision = self.precision
        setting = Setting(
            config.rule,
            own,
            shape.output_shape,
            resolved.facts.classes,
            self.seed,
            index,
            self.precision,
        )
        rule: LocalRule | GraphRule = resolve_name(config.rule.implementation)(setting)
        self.rule = rule.to(device, memory_format=layout)
        self.dropout = config.dropout
        self.steps = 0
        first, end = config.epochs or (0, resolved.config.training.epochs)
        self.first_step = first * resolved.batches_per_epoch
        self.end_step = min(end * resolved.batches_per_epoch, resolved.train_steps)
        self.optimizer = self._optimizer(resolved)

    def _optimizer(self, resolved: ResolvedRun) -> LayerOptimizer:
        config = self.shape.config
        body = dict(self.body.named_parameters(prefix='body')) if self.rule.trains_body else {}
        return LayerOptimizer(
            self.shape.optimizer,
            config.learning_rate or resolved.config.training.learning_rate,
            max(1, self.end_step - self.first_step),
            {name: each for name, each in body.items() if each.dim() > 1},
            {name: each for name, each in body.items() if each.dim() < 2},
            dict(self.rule.named_parameters(prefix='rule')),
        )

    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """See Layer.train."""
        arrived = self._arrived(batch)
        if self.stem and not self.stem.ready:
            self.stem.fit(arrived)
        learns = self.learns
        # A single sample has no deviation to normalise by: the running ones serve.
        for module in (self.body, self.rule):
            module.train(learns and batch.samples > 1)
        own, carried = self._parted(arrived)
        labels = batch.labels.to(self.device)
        with torch.set_grad_enabled(learns):
            output = self._output(own, carried)
            step = Step(self.body, own, output, labels, self.steps)
            loss, scores = self.rule.loss(step)
        rate = self._update(loss) if learns else 0.0
        with torch.no_grad():
            passed = self._dropped(self._passed(output.detach(), own, carried))
            figures = class_figures(loss, scores.detach(), labels, rate)
        self.steps += 1
        return Batch(self._to_wire(passed), labels=batch.labels), figures

    @property
    def learns(self) -> bool:
        """Whether the next TRAIN item is one that the layer learns from."""
        return self.first_step <= self.steps < self.end_step

    def _update(self, loss: Tensor) -> float:
        """Take one step down, and give the learning rate it had."""
        loss.backward()
        rate = self.optimizer.rate
        # Muon multiplies matrices.
        with arithmetic(self.precision, self.device):
            self.optimizer.step()
        return rate

    def score(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Raise ValueError: rules of one stream need no scores before training."""
        raise ValueError(f'{self.name} learns by a rule of one stream, which has no SCORE items')

    def pass_on(self, batch: Batch) -> Batch:
        """See Layer.pass_on."""
        passed, _ = self._as_trained(batch)
        return replace(passed, labels=batch.labels)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[Batch, Tensor]:
        """See Layer.evaluate."""
        passed, output = self._as_trained(batch)
        return passed, self.rule.scores(output)

    @torch.no_grad()
    def _as_trained(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Give what passes on, and the output, with running statistics and no dropout."""
        for module in (self.body, self.rule):
            module.eval()
        own, carried = self._parted(self._arrived(batch))
        output = self._output(own, carried)
        return Batch(self._to_wire(self._passed(output, own, carried))), output

    def _arrived(self, batch: Batch) -> Tensor:
        """Copy what arrived: [samples, features], or maps with their channels last in memory."""
        rows = batch.positive
        rows = self.pixels(rows) if self.pixels else owned([rows], self.device)
        return as_maps(rows) if rows.dim() == 4 else rows

    @torch.no_grad()
    def _parted(self, arrived: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cut off what is carried beside the input, and put the stem before it."""
        own, carried = arrived, None
        if self.shape.carried:
            own, carried = arrived.split(
                (arrived.shape[1] - self.shape.carried, self.shape.carried), 1
            )
            own = own.contiguous(memory_format=torch.channels_last)
        if self.stem:
            own = gelu(self.stem(own))
        return own, carried

    def _output(self, own: Tensor, carried: Tensor | None) -> Tensor:
        output = self.body(own)
        if self.skip == 'add':
            output = output + _fitted(carried, output)
        return output

    def _passed(self, output: Tensor, own: Tensor, carried: Tensor | None) -> Tensor:
        """What passes on, and beside it what is carried."""
        passed = self.rule.passed(output)
        if self.skip in ('begin', 'carry'):
            beside = own if self.skip == 'begin' else carried
            passed = torch.cat((passed, _pooled(beside, passed)), 1)
        return passed

    def _dropped(self, passed: Tensor) -> Tensor:
        if not self.dropout:
            return passed
        random = generator(self.seed, 'dropout', self.index, self.steps)
        keep = torch.rand(passed.shape, generator=random).to(self.device) >= self.dropout
        return passed * keep / (1 - self.dropout)

    def _to_wire(self, passed: Tensor) -> Tensor:
        rows = passed.permute(0, 2, 3, 1) if passed.dim() == 4 else passed
        rows = rows.contiguous()
        rows = rows.to(self.wire)
        if self.wire == torch.float16:
            # Larger numbers became infinity, and would be refused. Half the bytes to go through
            # when this comes after the conversion, and the same numbers.
            limit = torch.finfo(torch.float16).max
            rows = rows.clamp_(-limit, limit)
        return rows

    def learned(self) -> dict[str, Tensor]:
        """See Layer.learned."""
        named: dict[str, Tensor] = {}
        parts: dict[str, nn.Module] = {'body': self.body, 'rule': self.rule}
        if self.stem:
            parts['stem'] = self.stem
        for prefix, module in parts.items():
            named |= prefixed(prefix, module.state_dict(keep_vars=True))
        return named

    def moments(self) -> dict[str, Tensor]:
        """See Layer.moments."""
        return prefixed('optimizer', self.optimizer.state()) | {'steps': torch.tensor(self.steps)}

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """See Layer.load_moments."""
        self.steps = int(tensors['steps'])
        self.optimizer.load_state(without_prefix('optimizer', tensors))


def _pooled(carried: Tensor, like: Tensor) -> Tensor:
    """Average carried maps to the size of others."""
    factor = carried.shape[2] // like.shape[2]
    return avg_pool2d(carried, factor) if factor > 1 else carried


def _fitted(carried: Tensor, like: Tensor) -> Tensor:
    """Bring carried maps to the size and channels of others, without parameters."""
    carried = _pooled(carried, like)
    return pad(carried, (0, 0, 0, 0, 0, like.shape[1] - carried.shape[1]))


def class_figures(loss: Tensor, scores: Tensor, labels: Tensor, rate: float) -> TrainFigures:
    """Sum up a step whose samples have the scores of all classes, float32 [samples, classes]."""
    true = scores.gather(1, labels[:, None]).squeeze(1)
    wrong = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
    return train_figures(loss, true, wrong, rate)
