# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Settings that were given and decide nothing."""

from __future__ import annotations

from collections.abc import Iterator

from dff_nodes.runs.config import Config
from dff_nodes.runs.layers import (
    ConvolutionPart,
    GroupOptimizer,
    LayerConfig,
    MapSettings,
    OptimizerConfig,
)
from dff_nodes.runs.resolve import LayerShape, ResolvedRun
from dff_nodes.runs.rules import BlockGoodnessRule, HeadRule, SpatialGoodnessRule
from dff_nodes.runs.section import Section

OF_THE_STREAM = (
    ('stream', 'window_items'),
    ('stream', 'replay_mb'),
    ('checkpoint', 'every_s'),
    ('checkpoint', 'every_items'),
    ('restart', 'lease_s'),
)
Unused = Iterator[tuple[str, str]]
"""settings, each with why it has no effect"""


def unused_settings(resolved: ResolvedRun) -> list[str]:
    """
    Say which settings of a file or of --set decide nothing in such a run.

    :returns: a sentence each. Settings that say what is so anyway are left out.
    """
    found = [
        *_of_the_stream(resolved.config),
        *_of_streams(resolved.config),
        *_of_data(resolved.config),
        *_of_optimizer(resolved.config.training.optimizer, 'training.optimizer'),
        *_heads(resolved),
    ]
    for index, shape in enumerate(resolved.layers):
        field = f'network[{index}]'
        found += _of_layer(shape, field)
        if shape.config.optimizer is not None:
            found += _of_optimizer(shape.config.optimizer, f'{field}.optimizer')
    found += _of_neighbours([shape.config for shape in resolved.layers])
    return [f'{setting} has no effect {why}' for setting, why in found]


def _given(section: Section, *names: str) -> list[str]:
    """Give those of the names that were set, and to something else than their default."""
    fields = type(section).model_fields
    return [
        name
        for name in names or fields
        if name in section.model_fields_set
        and getattr(section, name) != fields[name].get_default(call_default_factory=True)
    ]


def _of_the_stream(config: Config) -> Unused:
    if not config.schedule.chapters:
        return
    for section, name in OF_THE_STREAM:
        if name in getattr(config, section).model_fields_set:
            yield (
                f'{section}.{name}',
                f'with the schedule {config.schedule.name!r}, whose parts are saved when they are '
                'made; it is for the schedule stream',
            )


def _of_streams(config: Config) -> Unused:
    """What only positive and negative samples need, and what only some negatives do."""
    training, negatives = config.training, config.training.negatives
    if config.is_graph:
        for name in _given(training, 'batch_size'):
            yield f'training.{name}', 'with a graph, which is one item, whole'
    if config.streams == 1:
        for section, field in (
            (negatives, 'training.negatives'),
            (training.readout, 'training.readout'),
            (config.data.label, 'data.label'),
        ):
            for name in _given(section):
                yield f'{field}.{name}', 'with rules of one stream, which show no class'
        return
    if negatives.mode != 'adaptive':
        for name in _given(negatives, 'pick', 'temperature', 'lag_batches', 'lag_chapters'):
            why = f"with negatives of mode {negatives.mode!r}; it is for 'adaptive'"
            yield f'training.negatives.{name}', why
    elif config.schedule.chapters:
        for name in _given(negatives, 'lag_batches'):
            why = f'with the schedule {config.schedule.name!r}; it has lag_chapters'
            yield f'training.negatives.{name}', why
    else:
        for name in _given(negatives, 'lag_chapters'):
            yield f'training.negatives.{name}', "with the schedule 'stream'; it has lag_batches"
    if config.hybrid:
        for name in _given(config.data.label):
            yield f'data.label.{name}', 'with hybrid negatives, which show no class'
    if not config.has_readout:
        for name in _given(training.readout):
            yield (
                f'training.readout.{name}',
                'without adaptive or hybrid negatives or classification.mode one_pass',
            )


def _of_data(config: Config) -> Unused:
    data = config.data
    if not (data.shift_pixels or data.rotate_degrees):
        for name in _given(data, 'shift_fill'):
            yield f'data.{name}', 'without data.shift_pixels or data.rotate_degrees'


def _of_optimizer(optimizer: GroupOptimizer, field: str) -> Unused:
    if optimizer.name in ('adam', 'adamw'):
        for name in _given(optimizer, 'momentum'):
            yield f'{field}.{name}', f'with {optimizer.name}; it is for sgd and muon'
    if isinstance(optimizer, OptimizerConfig):
        for name in ('others', 'head'):
            group = getattr(optimizer, name)
            if group is not None:
                yield from _of_optimizer(group, f'{field}.{name}')


def _heads(resolved: ResolvedRun) -> Unused:
    """Optimizers of a rule's own parameters, where it has none."""
    layers = resolved.layers
    for index, shape in enumerate(layers):
        own = shape.config.optimizer
        if own is not None and own.head is not None and not shape.head_parameters:
            yield (
                f'network[{index}].optimizer.head',
                f'with the rule {shape.config.rule.name}, which has no parameters here',
            )
    common = [shape for shape in layers if shape.config.optimizer is None]
    head = resolved.config.training.optimizer.head
    if head is not None and not any(shape.head_parameters for shape in common):
        yield 'training.optimizer.head', 'as no rule that it is for has parameters'


def _of_layer(shape: LayerShape, field: str) -> Unused:
    layer, rule = shape.config, shape.config.rule
    parts = [(layer, field)] if isinstance(layer, ConvolutionPart) else []
    for name in ('parts', 'auxiliary'):
        for index, part in enumerate(getattr(layer, name, [])):
            if isinstance(part, ConvolutionPart):
                parts.append((part, f'{field}.{name}[{index}]'))
    for part, place in parts:
        if part.normalization != 'group':
            for name in _given(part, 'norm_groups'):
                yield f'{place}.{name}', f'with normalization {part.normalization!r}'
    features = len(shape.judged_shape) == 1
    of_maps = {HeadRule: 'head_inputs', BlockGoodnessRule: 'kernel'}
    for kind, name in of_maps.items():
        if features and isinstance(rule, kind):
            for given in _given(rule, name):
                yield f'{field}.rule.{given}', 'on features; it is for maps'
    if isinstance(rule, SpatialGoodnessRule) and rule.patches > max(shape.judged_shape[:2]):
        height, width = shape.judged_shape[:2]
        yield (
            f'{field}.rule.patches',
            f'beyond {max(height, width)} on maps of {height} x {width} pixels',
        )


def _of_neighbours(layers: list[LayerConfig]) -> Unused:
    """What is for the layer behind, where there is none that takes it."""
    last = f'network[{len(layers) - 1}]'
    # Layers that are written once for all share it, and the last has it with them.
    if layers[-1].dropout and not any(layer.dropout for layer in layers[:-1]):
        yield f'{last}.dropout', 'on the last layer, as it is of what passes on'
    travels: str | None = None
    for index, layer in enumerate(layers):
        skip = layer.skip if isinstance(layer, MapSettings) else 'none'
        if skip == 'begin':
            travels = f'network[{index}].skip'
        if travels and (skip in ('none', 'add') or index + 1 == len(layers)):
            if skip != 'add':
                yield (
                    travels,
                    'as no layer behind has skip: add: its maps travel and are thrown away',
                )
            travels = None
