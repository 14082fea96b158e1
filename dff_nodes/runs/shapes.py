# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Shapes and numbers of parameters of layers, from their settings alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from dff_nodes.runs.errors import ConfigError, shown
from dff_nodes.runs.layers import (
    AnyPart,
    BlockLayer,
    ConvolutionPart,
    DensePart,
    GraphLayer,
    LayerConfig,
    PoolPart,
    StemSettings,
    TorchvisionLayer,
    has_bias,
)
from dff_nodes.runs.rules import Shape

WHITEN_PIXELS = 2


@dataclass(frozen=True)
class Outcome:
    """What a layer makes of its input."""

    shape: Shape
    parameters: int
    """learned numbers, without those of its rule"""
    matrix_parameters: int
    """of them those of weight matrices and convolutions"""
    widest: int
    """numbers of one sample where there are most of them: before pooling, inside a block"""
    macs: int = 0
    """multiplications with a weight, of one pass of one sample"""


def body_shape(layer: LayerConfig, shape: Shape, field: str) -> Shape:
    """Shape of what a layer's body takes: behind its stem, where it has one."""
    if isinstance(layer, StemSettings) and layer.stem == 'whiten':
        return whitened_shape(shape, field)
    return shape


def layer_outcome(layer: LayerConfig, shape: Shape, field: str) -> Outcome:
    """
    Follow the shape through a layer.

    :param shape: of its input, what is carried beside it included.
    :param field: of the layer, for messages: network[2].
    :raises ConfigError: naming the setting that does not fit.
    """
    if isinstance(layer, BlockLayer):
        return _through(layer.parts, body_shape(layer, shape, field), f'{field}.parts')
    if isinstance(layer, TorchvisionLayer):
        return _through_torchvision(layer, shape, field)
    if isinstance(layer, GraphLayer):
        weights = shape[0] * layer.units
        return Outcome((layer.units,), weights + layer.units, weights, max(shape[0], layer.units))
    return part_outcome(layer, body_shape(layer, shape, field), field)


def auxiliary_outcome(layer: LayerConfig, shape: Shape, field: str) -> Outcome:
    """
    Follow what a layer gives through the network that stands before its rule, if one does.

    :param shape: of the layer's output.
    :raises ConfigError: as layer_outcome.
    """
    return _through(layer.auxiliary, shape, f'{field}.auxiliary')


def whitened_shape(shape: Shape, field: str) -> Shape:
    """Shape behind a whitening stem: its filters and their negatives."""
    height, width, channels = _maps(shape, f'{field}.stem')
    if min(height, width) < WHITEN_PIXELS:
        raise ConfigError(f"{field}.stem is 'whiten', which needs images, got {shape}")
    less = WHITEN_PIXELS - 1
    return height - less, width - less, 2 * channels * WHITEN_PIXELS**2


def _through(parts: list[AnyPart], shape: Shape, field: str) -> Outcome:
    parameters = matrices = widest = macs = 0
    for index, part in enumerate(parts):
        outcome = part_outcome(part, shape, f'{field}[{index}]')
        widest += outcome.widest
        shape = outcome.shape
        parameters += outcome.parameters
        matrices += outcome.matrix_parameters
        macs += outcome.macs
    return Outcome(shape, parameters, matrices, widest, macs)


def part_outcome(part: AnyPart, shape: Shape, field: str) -> Outcome:
    """Follow the shape through one part, or through a layer that is one; as layer_outcome."""
    if isinstance(part, PoolPart):
        height, width, channels = _maps(shape, f'{field}.type')
        pooled = _pooled(height, width, part.size, f'{field}.size')
        return Outcome((*pooled, channels), 0, 0, math.prod(shape))
    if isinstance(part, DensePart):
        weights = math.prod(shape) * part.units
        norm = 2 * part.units if part.normalization != 'none' else 0
        bias = part.units if has_bias(part) else 0
        widest = max(part.units, math.prod(shape))
        return Outcome((part.units,), weights + bias + norm, weights, widest, weights)
    return _through_convolution(part, shape, field)


def _through_convolution(part: ConvolutionPart, shape: Shape, field: str) -> Outcome:
    height, width, channels = _maps(shape, f'{field}.type')
    for name, count in (('its input has', channels), (f'{field}.channels', part.channels)):
        if count % part.groups:
            raise ConfigError(
                f'{field}.groups must divide all channels, got {part.groups} where {name} {count}'
            )
    if part.normalization == 'group' and part.channels % part.norm_groups:
        raise ConfigError(
            f'{field}.norm_groups must divide {field}.channels ({part.channels}), '
            f'got {part.norm_groups}'
        )
    around = 2 * part.pixels_around - part.kernel
    height, width = ((size + around) // part.stride + 1 for size in (height, width))
    if min(height, width) < 1:
        raise ConfigError(
            f'{field}.kernel must fit into maps of {shape[0]} x {shape[1]} pixels with their '
            f'padding, got {part.kernel}'
        )
    widest = max(height * width * part.channels, math.prod(shape))
    places = height * width
    if part.pool > 1:
        height, width = _pooled(height, width, part.pool, f'{field}.pool')
    weights = part.channels * (channels // part.groups) * part.kernel**2
    norm = 2 * part.channels if part.normalization != 'none' else 0
    bias = part.channels if has_bias(part) else 0
    shape = (height, width, part.channels)
    return Outcome(shape, weights + bias + norm, weights, widest, places * weights)


def _pooled(height: int, width: int, size: int, field: str) -> tuple[int, int]:
    if min(height, width) < size:
        raise ConfigError(f'{field} must be at most {min(height, width)} here, got {size}')
    return height // size, width // size


def _maps(shape: Shape, field: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ConfigError(
            f'{field} needs maps [height, width, channels], but what arrives there are '
            f'{shape[0]} features: put it before the dense layers, or use data of images'
        )
    return shape


def _through_torchvision(layer: TorchvisionLayer, shape: Shape, field: str) -> Outcome:
    return _torchvision_outcome(layer.network, tuple(layer.parts), _maps(shape, field), field)


@lru_cache(maxsize=64)
def _torchvision_outcome(
    network: str, parts: tuple[str, ...], shape: Shape, field: str
) -> Outcome:
    # Deferred: PyTorch takes a second to import, and only these layers' shapes need it.
    import torch

    from dff_nodes.runs.torchvision_parts import build_parts

    with torch.device('meta'):
        body = build_parts(network, list(parts), f'{field}.parts', shape[2])
        widths: list[int] = []
        macs: list[int] = []

        def count(module: torch.nn.Module, _: object, maps: torch.Tensor) -> None:
            widths.append(maps.numel())
            weight = getattr(module, 'weight', None)
            if weight is not None and weight.dim() > 1:
                macs.append(maps.numel() * weight[0].numel())

        for module in body.modules():
            if not list(module.children()):
                module.register_forward_hook(count)
        try:
            maps = body.eval()(torch.empty(1, shape[2], *shape[:2]))
        except RuntimeError as error:
            first = next(each for each in body.modules() if isinstance(each, torch.nn.Conv2d))
            right = f', but of {first.in_channels} channels' * (first.in_channels != shape[2])
            raise ConfigError(
                f'{field}.parts {shown(parts)} of {network} do not take maps [height, width, '
                f'channels] of {shown(shape)}{right}: {error}'
            ) from None
    _, channels, height, width = maps.shape
    counted = list(body.parameters())
    matrices = sum(each.numel() for each in counted if each.dim() > 1)
    parameters = sum(each.numel() for each in counted)
    shape = (height, width, channels)
    return Outcome(shape, parameters, matrices, sum(widths) // 3, sum(macs))
