# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of a local rule of one stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from dff_nodes.learning.precision import arithmetic
from dff_nodes.runs.rules import Rule, Shape
from dff_nodes.seeds import generator

Settings = TypeVar('Settings', bound=Rule)


@dataclass(frozen=True)
class Setting(Generic[Settings]):
    """Where a rule is at work."""

    rule: Settings
    """its settings"""
    input_shape: Shape
    """of what the layer's body takes: (features,) or (height, width, channels)"""
    output_shape: Shape
    """of what the rule looks at: what the body gives, or the auxiliary network behind it"""
    classes: int
    seed: int
    index: int
    """of the layer"""
    precision: torch.dtype = torch.float32
    """of the layer's matrix products and convolutions"""

    def random(self, *purpose: str | int) -> torch.Generator:
        """Make a generator of the run's seed, for one purpose of this layer's rule."""
        return generator(self.seed, 'rule', self.index, *purpose)

    def apply(self, module: nn.Module, x: Tensor) -> Tensor:
        """Apply a large linear map or convolution with the layer's precision; give float32."""
        with arithmetic(self.precision, x.device):
            return module(x).float()


@dataclass(frozen=True)
class Step:
    """One batch at a layer, the layer's output computed; maps are [n, channels, h, w]."""

    again: Callable[[Tensor], Tensor]
    """
    applies the layer to another input, shaped like `input`: what is carried is added to it as to
    `output`, and running statistics stay those of what passes on
    """
    input: Tensor
    """float32, carries no gradient"""
    output: Tensor
    """
    float32, carries the layer's gradient while it trains; what the auxiliary network makes of it
    where there is one
    """
    labels: Tensor
    """int64 [samples]"""
    number: int
    """training steps before this one"""


class LocalRule(nn.Module, ABC):
    """
    Loss, class scores and what passes on, of one layer.

    Parameters of the module are learned together with the layer's, from the same loss. All
    randomness comes from `Setting.random`, so that every process draws the same.
    """

    trains_body = True
    """whether the layer's own parameters learn"""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting

    @abstractmethod
    def loss(self, step: Step) -> tuple[Tensor, Tensor]:
        """
        Give what the step minimises, and the scores of the classes.

        :returns: scalar, and float32 [samples, classes], larger for likelier classes: the
            layers' scores are added up to classify.
        """

    @abstractmethod
    def scores(self, output: Tensor) -> Tensor:
        """Give the scores of the classes without learning: float32 [samples, classes]."""

    def passed(self, output: Tensor) -> Tensor:
        """Give what passes on to the next layer, of the same shape; here the output itself."""
        return output
