# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Builds what a one-stream layer is made of: linear maps, normalisation, nonlinearity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dff_nodes.learning.convolution import Convolution, replace_convolutions
from dff_nodes.learning.graph_body import GraphBody
from dff_nodes.learning.precision import arithmetic
from dff_nodes.runs.layers import (
    AnyPart,
    BlockLayer,
    DensePart,
    GraphLayer,
    LayerConfig,
    PoolPart,
    TorchvisionLayer,
    has_bias,
)
from dff_nodes.runs.rules import Shape
from dff_nodes.runs.shapes import part_outcome
from dff_nodes.seeds import generator

NORM_MOMENTUM = 0.2
"""of running statistics; runs are short, and PyTorch's 0.1 trails behind the weights"""
ACTIVATIONS = {
    'relu': nn.ReLU,
    'leaky_relu': nn.LeakyReLU,
    'gelu': nn.GELU,
    'silu': nn.SiLU,
    'none': nn.Identity,
}
GAINS = {'lecun': 1.0, 'kaiming': 2.0}


class Body(nn.Sequential):
    """Modules in turn; takes and gives float32, whatever the precision that it computes with."""

    precision = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """[samples, features] or [samples, channels, height, width], both ways."""
        with arithmetic(self.precision, x.device):
            return super().forward(x.to(self.precision)).float()


class LayerNorm(nn.Module):
    """Normalises each sample over all its numbers; a gain and an offset for each channel."""

    def __init__(self, channels: int, maps: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        """Shape of maps: [samples, channels, height, width]."""
        normal = nn.functional.layer_norm(x, x.shape[1:])
        if not self.maps:
            return normal * self.weight + self.bias
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def build_body(layer: LayerConfig, shape: Shape, seed: int, *purpose: str | int) -> nn.Module:
    """
    Build a layer with initial weights that depend on the seed alone.

    :param shape: of its input, (features,) or (height, width, channels), without what is
        carried beside it.
    :returns: takes [samples, features] or [samples, channels, height, width]; of a graph layer a
        GraphBody.
    """
    if isinstance(layer, GraphLayer):
        activation = ACTIVATIONS[layer.activation]()
        graph_body = GraphBody(shape[0], layer.units, layer.aggregation, activation)
        draw_weights(graph_body, layer.initialization, seed, *purpose)
        return graph_body
    if isinstance(layer, TorchvisionLayer):
        from dff_nodes.runs.torchvision_parts import build_parts, pool_before_relu, settle_in_place

        body = Body(*build_parts(layer.network, layer.parts, 'parts', shape[-1]))
        settle_in_place(body)
        pool_before_relu(body)
        replace_convolutions(body)
        draw_weights(body, layer.initialization, seed, *purpose)
        return body
    parts = layer.parts if isinstance(layer, BlockLayer) else [layer]
    return body_of_parts(parts, shape, seed, *purpose)


def body_of_parts(parts: Sequence[AnyPart], shape: Shape, seed: int, *purpose: str | int) -> Body:
    """
    Build parts that follow one another, as build_body does.

    :param shape: of what the first takes.
    """
    modules: list[nn.Module] = []
    for index, part in enumerate(parts):
        built = _build_part(part, shape)
        if not isinstance(part, PoolPart):
            draw_weights(nn.ModuleList(built), part.initialization, seed, *purpose, index)
        modules += built
        shape = part_outcome(part, shape, f'parts[{index}]').shape
    return Body(*modules)


def _build_part(part: AnyPart, shape: Shape) -> list[nn.Module]:
    if isinstance(part, PoolPart):
        return [nn.MaxPool2d(part.size) if part.mode == 'max' else nn.AvgPool2d(part.size)]
    bias = has_bias(part)
    activation = ACTIVATIONS[part.activation]()
    if isinstance(part, DensePart):
        flat: list[nn.Module] = [ChannelsLastFlatten()] if len(shape) == 3 else []
        linear = nn.Linear(math.prod(shape), part.units, bias=bias)
        norm = _norm(part.normalization, part.units, 1, maps=False)
        rest = [*norm, activation] if part.order == 'norm_activation' else [activation, *norm]
        return [*flat, linear, *rest]
    convolution = Convolution(
        shape[2],
        part.channels,
        part.kernel,
        part.stride,
        part.pixels_around,
        groups=part.groups,
        bias=bias,
    )
    norm = _norm(part.normalization, part.channels, part.norm_groups, maps=True)
    pool: list[nn.Module] = [nn.MaxPool2d(part.pool)] if part.pool > 1 else []
    # Pooled before the elementwise work, which is then a quarter of it.
    rest = [*pool, *norm, activation]
    if part.order == 'activation_norm':
        rest = [activation, *pool, *norm]
    return [convolution, *rest]


class ChannelsLastFlatten(nn.Module):
    """Maps to features in the order in which they travel: [n, c, h, w] -> [n, h * w * c]."""

    def forward(self, maps: Tensor) -> Tensor:
        """Flatten."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def _norm(kind: str, channels: int, groups: int, *, maps: bool) -> list[nn.Module]:
    if kind == 'none':
        return []
    if kind == 'group':
        return [nn.GroupNorm(groups, channels)]
    if kind == 'layer':
        return [LayerNorm(channels, maps)]
    return [batch_norm(channels, maps=maps)]


def batch_norm(channels: int, *, maps: bool) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Make a batch normalisation of features or maps whose state is floats alone."""
    kind = nn.BatchNorm2d if maps else nn.BatchNorm1d
    norm = kind(channels, momentum=NORM_MOMENTUM)
    # With a fixed momentum the count of batches decides nothing, and it is no float.
    norm.num_batches_tracked = None
    return norm


@contextmanager
def statistics_kept(body: nn.Module) -> Iterator[None]:
    """Let batches pass whose mean and variance are not to enter the running ones."""
    norms = [each for each in body.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.no_grad()
def draw_weights(body: nn.Module, initialization: str, seed: int, *purpose: str | int) -> None:
    """Draw matrices and convolutions anew, on the CPU; biases 0, normalisation the identity."""
    source = generator(seed, 'weights', *purpose)
    for module in body.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2:
                # Of normalisation the gain; everything else is an offset.
                parameter.fill_(1.0 if name == 'weight' else 0.0)
            elif initialization == 'orthogonal':
                nn.init.orthogonal_(parameter, generator=source)
            else:
                variance = GAINS[initialization] / parameter[0].numel()
                parameter.normal_(0, math.sqrt(variance), generator=source)
