# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Each layer encodes, a decoder of its own restores its input (Unsupervised FF 2404.14664)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm, mse_loss

from dff_nodes.learning.convolution import Convolution
from dff_nodes.learning.rules.heads import ReadoutRule
from dff_nodes.learning.rules.local_rule import Setting, Step
from dff_nodes.runs.rules import ReconstructRule


class Reconstruct(ReadoutRule):
    """See runs.rules.ReconstructRule; what passes on is layer-normalised, as published."""

    def __init__(self, setting: Setting[ReconstructRule]) -> None:
        super().__init__(setting)
        inputs, outputs = setting.input_shape, setting.output_shape
        self.decoder: nn.Module
        if len(outputs) == 3:
            self.decoder = Convolution(outputs[2], inputs[2], 3, padding=1)
        else:
            self.decoder = nn.Linear(outputs[0], math.prod(inputs))
        with torch.no_grad():
            weight = self.decoder.weight
            scale = 1 / math.sqrt(weight[0].numel())
            weight.normal_(0, scale, generator=setting.random('decoder'))
            self.decoder.bias.zero_()

    def own_loss(self, step: Step) -> Tensor:
        """See ReadoutRule.own_loss."""
        latent, noise = step.output, self.setting.rule.noise
        if noise:
            drawn = torch.randn(
                step.input.shape, generator=self.setting.random('noise', step.number)
            )
            latent = step.again(step.input + noise * drawn.to(step.input.device))
        if latent.dim() == 4:
            height, width = step.input.shape[2:]
            latent = interpolate(latent, (height, width), mode='nearest')
        restored = self.setting.apply(self.decoder, latent)
        return mse_loss(restored.view_as(step.input), step.input)

    def passed(self, output: Tensor) -> Tensor:
        """See LocalRule.passed."""
        return layer_norm(output, output.shape[1:])
