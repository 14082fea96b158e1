# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer that learns from samples and their labels, by any local rule of one stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pkgutil import resolve_name

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, pad

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.body import Body, body_of_parts, build_body, statistics_kept
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

SHOWN_SAMPLES = 32
"""
of a batch, that a layer which does not learn is judged by: that is for the charts alone, and where
there is an auxiliary network it may cost more than the layer
"""


@dataclass(frozen=True)
class Learner:
    """The optimizer of some of a layer's parameters, and the training steps it learns in."""

    optimizer: LayerOptimizer
    steps: range


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
        self.auxiliary: Body | None = None
        if config.auxiliary:
            behind = body_of_parts(
                config.auxiliary, shape.output_shape, self.seed, index, 'auxiliary'
            )
            behind.precision = self.precision
            self.auxiliary = behind.to(device, memory_format=layout)
        setting = Setting(
            config.rule,
            own,
            shape.judged_shape,
            resolved.facts.classes,
            self.seed,
            index,
            self.precision,
        )
        rule: LocalRule | GraphRule = resolve_name(config.rule.implementation)(setting)
        self.rule = rule.to(device, memory_format=layout)
        self.dropout = config.dropout
        self.steps = 0
        self.learners = self._learners(resolved)

    def _learners(self, resolved: ResolvedRun) -> dict[str, Learner]:
        """Give what turns gradients into steps, by the name of its moments."""
        config = self.shape.config
        body = dict(self.body.named_parameters(prefix='body')) if self.rule.trains_body else {}
        if self.auxiliary is not None:
            body |= dict(self.auxiliary.named_parameters(prefix='auxiliary'))
        matrices = {name: each for name, each in body.items() if each.dim() > 1}
        others = {name: each for name, each in body.items() if each.dim() < 2}
        head = dict(self.rule.named_parameters(prefix='rule'))

        def learner(epochs: tuple[int, int] | None, *groups: dict[str, nn.Parameter]) -> Learner:
            first, end = epochs or (0, resolved.config.training.epochs)
            steps = range(
                first * resolved.batches_per_epoch,
                min(end * resolved.batches_per_epoch, resolved.train_steps),
            )
            course = config.learning_rate or resolved.config.training.learning_rate
            optimizer = LayerOptimizer(self.shape.optimizer, course, max(1, len(steps)), *groups)
            return Learner(optimizer, steps)

        if config.head_epochs is None:
            return {'optimizer': learner(config.epochs, matrices, others, head)}
        return {
            'optimizer': learner(config.epochs, matrices, others),
            'head_optimizer': learner(config.head_epochs, {}, {}, head),
        }

    def train(self, batch: Batch) -> tuple[Batch, TrainFigures]:
        """See Layer.train."""
        arrived = self._arrived(batch)
        if self.stem and not self.stem.ready:
            self.stem.fit(arrived)
        # A single sample has no deviation to normalise by: the running ones serve.
        self._prepare(normalize=batch.samples > 1)
        own, carried = self._parted(arrived)
        labels = self._shown(batch.labels).to(self.device)
        with torch.set_grad_enabled(self.learns):
            output = self._output(own, carried)
            judged = self._judged(self._shown(output))
            if judged.requires_grad and judged.dim() == 4:
                judged.register_hook(_channels_last)
            beside = None if carried is None else self._shown(carried)
            again = partial(self._again, carried=beside)
            step = Step(again, self._shown(own), judged, labels, self.steps)
            loss, scores = self.rule.loss(step)
        rate = self._update(loss)
        with torch.no_grad():
            passed = self._dropped(self._passed(output.detach(), own, carried))
            figures = class_figures(loss, scores.detach(), labels, rate)
        self.steps += 1
        return Batch(self._to_wire(passed), labels=batch.labels), figures

    @property
    def learning(self) -> list[LayerOptimizer]:
        """Optimizers that take a step at the next TRAIN item."""
        return [
            each.optimizer
            for each in self.learners.values()
            if self.steps in each.steps and each.optimizer.groups
        ]

    @property
    def learns(self) -> bool:
        """Whether the next TRAIN item is one that the layer, or its head, learns from."""
        return bool(self.learning)

    def _prepare(self, *, normalize: bool) -> None:
        """
        Bring the parts of the layer into the state they have for the next TRAIN item.

        :param normalize: by the batch's own statistics, where a part learns.
        """
        steps = [each.steps for each in self.learners.values()]
        parts = [(self.body, steps[0]), (self.rule, steps[-1])]
        if self.auxiliary is not None:
            parts.append((self.auxiliary, steps[0]))
        for module, window in parts:
            learns = self.steps in window
            module.train(learns and normalize)
            module.requires_grad_(learns)

    def _update(self, loss: Tensor) -> float:
        """Take one step down with what learns now, and give the learning rate it had."""
        learning = self.learning
        if not learning:
            return 0.0
        loss.backward()
        rate = learning[0].rate
        # Muon multiplies matrices.
        with arithmetic(self.precision, self.device):
            for optimizer in learning:
                optimizer.step()
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
        return passed, self.rule.scores(self._judged(output))

    @torch.no_grad()
    def _as_trained(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Give what passes on, and the output, with running statistics and no dropout."""
        for module in self._parts().values():
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

    def _again(self, own: Tensor, carried: Tensor | None) -> Tensor:
        """Give what the layer makes of another input, which leaves no trace in its statistics."""
        with statistics_kept(self.body):
            return self._output(own, carried)

    def _judged(self, output: Tensor) -> Tensor:
        """Give what the rule looks at."""
        return output if self.auxiliary is None else self.auxiliary(output)

    def _shown(self, rows: Tensor) -> Tensor:
        """Give the rows of the samples that the rule looks at."""
        return rows if self.learns else rows[:SHOWN_SAMPLES]

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
        for prefix, module in self._parts().items():
            named |= prefixed(prefix, module.state_dict(keep_vars=True))
        return named

    def _parts(self) -> dict[str, nn.Module]:
        """Give the modules whose state is the layer's, by the name it has there."""
        parts = {
            'body': self.body,
            'auxiliary': self.auxiliary,
            'rule': self.rule,
            'stem': self.stem,
        }
        return {name: each for name, each in parts.items() if each is not None}

    def moments(self) -> dict[str, Tensor]:
        """See Layer.moments."""
        moments = {'steps': torch.tensor(self.steps)}
        for name, learner in self.learners.items():
            moments |= prefixed(name, learner.optimizer.state())
        return moments

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """See Layer.load_moments."""
        self.steps = int(tensors['steps'])
        for name, learner in self.learners.items():
            learner.optimizer.load_state(without_prefix(name, tensors))


def _channels_last(gradient: Tensor) -> Tensor:
    """
    Bring a gradient of maps into the order in which maps lie in memory.

    Some rules give it in another, for which PyTorch's backward of a batch normalisation takes
    several times as long as for the same.
    """
    return gradient.contiguous(memory_format=torch.channels_last)


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
