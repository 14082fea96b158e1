# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Optimizers, and the learning rate as a function of the share of the run that is done."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from dff_nodes.runs.config import LearningRateConfig, OptimizerConfig


class Optimizer(ABC):
    """
    PyTorch's own fused update of a layer's parameters, with its moments as named tensors.

    The functions behind torch.optim rather than its classes: those load torch.compile's
    machinery at the first step, which costs a node 77 MB and a second (measured on x86_64),
    more than most layers hold.

    :param parameters: by name; each has a gradient when `step` is called.
    """

    def __init__(self, config: OptimizerConfig, parameters: dict[str, Parameter]) -> None:
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
    """Adam (Kingma & Ba 2015), betas 0.9 and 0.999."""

    def __init__(self, config: OptimizerConfig, parameters: dict[str, Parameter]) -> None:
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
            eps=1e-8,
            maximize=False,
        )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    def __init__(self, config: OptimizerConfig, parameters: dict[str, Parameter]) -> None:
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
            nesterov=False,
            maximize=False,
        )


def make_optimizer(config: OptimizerConfig, parameters: dict[str, Parameter]) -> Optimizer:
    """Make the optimizer that a configuration names."""
    return {'adam': Adam, 'sgd': SGD}[config.name](config, parameters)


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
    Linear rise over the warm-up, constant until the hold ends, then linear to the final share.

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
        return 1.0 - (1.0 - config.final) * done
