# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Optimizers, and the learning rate as a function of the share of the run that is done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from dff_nodes.learning.precision import entered_precision
from dff_nodes.runs.layers import GroupOptimizer, LearningRateConfig, OptimizerConfig


class Optimizer(ABC):
    """
    PyTorch's own fused update of a layer's parameters, with its moments as named tensors.

    The functions behind torch.optim rather than its classes: those load torch.compile's
    machinery at the first step, which costs a node 77 MB and a second (measured on x86_64),
    more than most layers hold.

    :param parameters: by name; each has a gradient when `step` is called.
    """

    def __init__(self, config: GroupOptimizer, parameters: dict[str, Parameter]) -> None:
        self.config = config
        self.parameters = parameters
        self.steps_done = 0

    @abstractmethod
    def moments(self) -> dict[str, list[Tensor]]:
        """Moments by name, one tensor per parameter, in the order of `parameters`."""

    @abstractmethod
    def _update(self, gradients: list[Tensor], rate: float) -> None:
        """Change the parameters and the moments."""

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step and forget the gradients."""
        self._update([each.grad for each in self.parameters.values()], rate)
        self.steps_done += 1
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Give the moments as `PARAMETER.MOMENT` and the number of steps."""
        named = {
            f'{name}.{moment}': tensor
            for moment, tensors in self.moments().items()
            for name, tensor in zip(self.parameters, tensors, strict=True)
        }
        return named | {'steps_done': torch.tensor(self.steps_done)}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """
        Continue from what `state` gave.

        :raises ValueError: naming a tensor that is missing, too many or of another shape.
        """
        current = self.state()
        check_same_tensors(current, state)
        for name, tensor in current.items():
            tensor.copy_(state[name])
        self.steps_done = int(state['steps_done'])


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) and AdamW, betas 0.9 and 0.999."""

    def __init__(self, config: GroupOptimizer, parameters: dict[str, Parameter]) -> None:
        super().__init__(config, parameters)
        values = list(parameters.values())
        self._means = [torch.zeros_like(each) for each in values]
        self._squares = [torch.zeros_like(each) for each in values]
        self._steps = [torch.zeros((), device=each.device) for each in values]

    def moments(self) -> dict[str, list[Tensor]]:
        """See Optimizer.moments."""
        return {'mean': self._means, 'square': self._squares, 'step': self._steps}

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        adam(
            list(self.parameters.values()),
            gradients,
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.config.weight_decay,
            decoupled_weight_decay=self.config.name == 'adamw',
            eps=1e-8,
            maximize=False,
        )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    def __init__(self, config: GroupOptimizer, parameters: dict[str, Parameter]) -> None:
        super().__init__(config, parameters)
        self._momenta = [torch.zeros_like(each) for each in parameters.values()]

    def moments(self) -> dict[str, list[Tensor]]:
        """See Optimizer.moments."""
        return {'momentum': self._momenta}

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        sgd(
            list(self.parameters.values()),
            gradients,
            self._momenta,
            fused=True,
            foreach=False,
            weight_decay=self.config.weight_decay,
            momentum=self.config.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self.config.nesterov,
            maximize=False,
        )


class Muon(Optimizer):
    """
    Momentum whose matrix is made orthogonal before it is applied (Jordan et al. 2024).

    Each weight is brought to Frobenius norm sqrt(outputs) before a step, and the step has that
    norm times the learning rate. Four Newton-Schulz iterations, in the precision that is entered
    (learning/precision.py); a convolution counts as a matrix of its filters.

    An iteration multiplies a matrix X by a polynomial of X X^T. Two of them are multiplied out
    among matrices of X's shorter side before X is: half the products with X, which is wide where
    it is a convolution's. All four at once would be a quarter, but in bfloat16 the rounding of
    X X^T grows with each: of singular values that are far apart they came out 0.5 of the whole
    away from where they belong, of two and two 0.2 as with one after the other.
    """

    ROUNDS = 2
    COEFFICIENTS = 3.4445, -4.7750, 2.0315

    def __init__(self, config: GroupOptimizer, parameters: dict[str, Parameter]) -> None:
        super().__init__(config, parameters)
        for name, each in parameters.items():
            if each.dim() < 2:
                raise ValueError(f'muon is for matrices, {name} has shape {list(each.shape)}')
        self._momenta = [torch.zeros_like(each) for each in parameters.values()]

    def moments(self) -> dict[str, list[Tensor]]:
        """See Optimizer.moments."""
        return {'momentum': self._momenta}

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        for weight, gradient, momentum in zip(
            self.parameters.values(), gradients, self._momenta, strict=True
        ):
            momentum.mul_(self.config.momentum).add_(gradient)
            ahead = gradient.add(momentum, alpha=self.config.momentum)
            # Inputs last, as weights of convolutions lie in memory; no matter to the outcome.
            rows = ahead.movedim(1, -1)
            direction = self._orthogonal(rows.flatten(1)).to(weight.dtype)
            norm = len(weight) ** 0.5
            weight.mul_(norm / weight.norm().clamp_min(1e-12))
            direction.mul_(norm / direction.norm().clamp_min(1e-12))
            weight.add_(direction.reshape(rows.shape).movedim(-1, 1), alpha=-rate)

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """Bring the singular values near 1; their vectors stay."""
        flat = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if flat else matrix
        x = (x / x.norm().clamp_min(1e-7)).to(entered_precision(x))
        for _ in range(self.ROUNDS):
            x = self._two_iterations(x @ x.T) @ x
        return x.T if flat else x

    def _two_iterations(self, square: Tensor) -> Tensor:
        """Give what two iterations multiply X by, from X X^T, with which it commutes."""
        first = self._iteration(square)
        return self._iteration(first @ square @ first) @ first

    def _iteration(self, square: Tensor) -> Tensor:
        identity, once, twice = self.COEFFICIENTS
        factor = torch.addmm(square, square, square, beta=once, alpha=twice)
        factor.diagonal().add_(identity)
        return factor


def make_optimizer(config: GroupOptimizer, parameters: dict[str, Parameter]) -> Optimizer:
    """Make the optimizer that a configuration names."""
    kinds = {'adam': Adam, 'adamw': Adam, 'sgd': SGD, 'muon': Muon}
    return kinds[config.name](config, parameters)


class LayerOptimizer:
    """
    The optimizers of a layer's groups of parameters, and their learning rates.

    Weight matrices, other parameters of the layer, and those of its rule may have optimizers of
    their own; groups with the same settings are one.

    :param matrices: weights of the layer, by name; `others` and `head` likewise.
    :param course: of the learning rates of all groups that have none of their own.
    :param steps: training steps over which they run it.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        course: LearningRateConfig,
        steps: int,
        matrices: dict[str, Parameter],
        others: dict[str, Parameter] | None = None,
        head: dict[str, Parameter] | None = None,
    ) -> None:
        main = GroupOptimizer(**config.model_dump(exclude={'others', 'head'}))
        groups: dict[GroupOptimizer, dict[str, Parameter]] = {main: dict(matrices)}
        for group, parameters in ((config.of_others, others), (config.of_head, head)):
            settings = GroupOptimizer(**group.model_dump(exclude={'others', 'head'}))
            groups.setdefault(settings, {}).update(parameters or {})
        self.groups = [
            (
                make_optimizer(group, parameters),
                LearningRate(group.course or course, group.learning_rate, steps),
            )
            for group, parameters in groups.items()
            if parameters
        ]

    @property
    def steps_done(self) -> int:
        """Steps taken so far."""
        return self.groups[0][0].steps_done if self.groups else 0

    @property
    def rate(self) -> float:
        """Learning rate of the next step of the first group."""
        return self.groups[0][1].at(self.steps_done) if self.groups else 0.0

    def step(self) -> None:
        """Take one step with every group and forget the gradients."""
        for optimizer, rate in self.groups:
            optimizer.step(rate.at(optimizer.steps_done))

    def state(self) -> dict[str, Tensor]:
        """Give the moments as `PARAMETER.MOMENT` and the number of steps."""
        named: dict[str, Tensor] = {}
        for optimizer, _ in self.groups:
            named |= optimizer.state()
        return named

    def load_state(self, state: dict[str, Tensor]) -> None:
        """
        Continue from what `state` gave.

        :raises ValueError: naming a tensor that is missing, too many or of another shape.
        """
        check_same_tensors(self.state(), state)
        for optimizer, _ in self.groups:
            optimizer.load_state({name: state[name] for name in optimizer.state()})


def check_same_tensors(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise ValueError unless both have the same names and shapes."""
    for name in wanted.keys() - found.keys():
        raise ValueError(f'the state lacks {name}')
    for name in found.keys() - wanted.keys():
        raise ValueError(f'the state holds {name}, which is not known here')
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f'{name} has shape {list(found[name].shape)}, {list(tensor.shape)} is right'
            )


class LearningRate:
    """
    Linear rise over the warm-up, constant until the hold ends, then a fall to the final share.

    :param highest: learning rate of the constant part.
    :param steps: training steps of the whole run.
    """

    def __init__(self, config: LearningRateConfig, highest: float, steps: int) -> None:
        self.config = config
        self.highest = highest
        self.steps = steps

    def at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        share = (step + 0.5) / self.steps
        return self.highest * self._factor(share)

    def _factor(self, share: float) -> float:
        config = self.config
        if share < config.warmup:
            return share / config.warmup
        if share <= config.hold or config.hold >= 1:
            return 1.0
        done = min(1.0, (share - config.hold) / (1 - config.hold))
        if config.fall == 'cosine':
            done = (1 - math.cos(math.pi * done)) / 2
        return 1.0 - (1.0 - config.final) * done
