# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulate operations of an evaluation, counted from shapes."""

from __future__ import annotations

import math

from dff_nodes.runs.layers import ConvolutionLayer
from dff_nodes.runs.resolve import LayerShape, ResolvedRun
from dff_nodes.runs.shapes import whitened_shape


def layer_macs(resolved: ResolvedRun, layer: int) -> int:
    """
    Count the multiplications with a weight that a layer makes for one sample of an evaluation.

    Of its body, its stem and what gives the class scores; not those of normalisation, activation
    or pooling. Where every candidate class is tried, each has a pass of its own; a dense layer 0
    multiplies the image once for all of them, and then the label.
    """
    shape, classes = resolved.layers[layer], resolved.facts.classes
    if resolved.config.streams == 1:
        scores = shape.config.rule.macs(shape.judged_shape, classes)
        return _stem_macs(shape, layer) + shape.macs + scores
    readout = shape.units * classes if resolved.candidates == 1 else 0
    if layer == 0 and _shares_the_image(resolved):
        return shape.macs + classes * shape.units + readout
    return resolved.candidates * shape.macs + readout


def _shares_the_image(resolved: ResolvedRun) -> bool:
    """Whether an image is multiplied once for all the classes that are shown with it."""
    dense = not isinstance(resolved.config.network[0], ConvolutionLayer)
    return dense and not resolved.config.hybrid


def _stem_macs(shape: LayerShape, layer: int) -> int:
    if getattr(shape.config, 'stem', 'none') != 'whiten':
        return 0
    height, width, filters = whitened_shape(shape.input_shape, f'network[{layer}]')
    return height * width * filters * (filters // 2)


def network_macs(resolved: ResolvedRun) -> list[int]:
    """Give `layer_macs` of all layers, first to last."""
    return [layer_macs(resolved, layer) for layer in range(len(resolved.layers))]


def mean_macs(macs: list[int], answered: list[int]) -> float:
    """
    Give the mean of one sample, of a number of which each layer answered some.

    :param macs: of each layer.
    :param answered: samples that each layer answered: they have passed it and those before.
    """
    totals = [sum(macs[: layer + 1]) for layer in range(len(macs))]
    done = math.fsum(total * count for total, count in zip(totals, answered, strict=True))
    return done / sum(answered)
