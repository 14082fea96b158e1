# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What must fit together in a run: its settings, its data, and the shapes of its layers."""

from __future__ import annotations

from dataclasses import asdict
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from dff_nodes.data.facts import Augmentation, DataFacts
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError, shown
from dff_nodes.runs.layers import ConvolutionLayer, DenseLayer, LayerConfig
from dff_nodes.runs.rules import (
    BUILT_IN,
    BlockGoodnessRule,
    BlockSoftmaxRule,
    ChannelCompetitionRule,
    ContrastSelfRule,
    MeanGoodnessRule,
    PredSimRule,
    ReconstructRule,
    Rule,
    Shape,
    SoftmaxHeadRule,
    SpatialGoodnessRule,
    rules,
)

if TYPE_CHECKING:
    from dff_nodes.runs.resolve import ResolvedRun

LEAST_REPLAY_ITEMS = 4
ORDER = 'norm_activation'


def check_data(config: Config, facts: DataFacts) -> None:
    """Refuse a configuration that does not fit its data, before any shape is known."""
    _check_network_takes_data(config, facts)
    _check_label_fits(config, facts)
    _check_batch_fits(config, facts)


def check_run(resolved: ResolvedRun) -> None:
    """Follow the shapes through all layers, and refuse what cannot be carried or trained on."""
    _ = resolved.layers
    _check_streams(resolved.config)
    _check_chapters(resolved)
    _check_replay_fits(resolved)


def _check_network_takes_data(config: Config, facts: DataFacts) -> None:
    """Graph layers need a graph, and no other layer knows what to do with its edges."""
    if facts.nodes and not config.is_graph:
        raise ConfigError(
            f'network[0].type must be graph for the graph of data.dataset {config.data.dataset}, '
            f'got {config.network[0].type!r}: for example network: graph'
        )
    if config.is_graph and not facts.nodes:
        raise ConfigError(
            f'data.dataset must be the .npz of a graph for network[0].type graph, got '
            f'{config.data.dataset}, which has no edges'
        )


def _check_label_fits(config: Config, facts: DataFacts) -> None:
    if config.streams == 1 or config.hybrid:
        return
    if config.data.label.position == 'overwrite' and facts.classes >= facts.features:
        raise ConfigError(
            f"data.label.position is 'overwrite', but {facts.classes} classes leave nothing of "
            f"{facts.features} inputs: use 'prepend'"
        )


def check_layer(
    layer: LayerConfig, index: int, taken: Shape, output: Shape, classes: int, field: str
) -> None:
    """
    Refuse settings of a layer that do not fit its rule, its place or its data.

    :param taken: shape of what the layer's body takes; `output` of what its rule looks at.
    """
    rule = layer.rule
    if type(rule) not in BUILT_IN:
        _check_implementation(rule, field)
    if layer.auxiliary and not rule.takes_auxiliary:
        raise ConfigError(
            f'{field}.auxiliary must be left out for the rule {rule.name}: it is for '
            f'{", ".join(_rules_with_auxiliary())}'
        )
    if isinstance(rule, (ChannelCompetitionRule, MeanGoodnessRule)):
        _check_groups(layer, output[-1], classes, field)
    if getattr(layer, 'stem', 'none') != 'none' and index > 0:
        raise ConfigError(f"{field}.stem must be 'none', it is for layer 0 only")
    if isinstance(rule, SpatialGoodnessRule) and len(output) != 3:
        raise ConfigError(
            f'{field}.rule spatial_goodness needs maps, for example of type: conv, got '
            f'{output[0]} features of type: {layer.type}'
        )
    if isinstance(rule, PredSimRule) and output[:-1] == (1, 1):
        raise ConfigError(
            f'{field}.rule pred_sim compares deviations over the pixels of maps, so it needs more '
            'than one pixel, got maps of 1 x 1'
        )
    if isinstance(rule, BlockGoodnessRule) and rule.kernel % 2 == 0:
        raise ConfigError(f'{field}.rule.kernel must be odd, got {rule.kernel}')
    if isinstance(rule, BlockSoftmaxRule) and rule.movement and taken != output:
        raise ConfigError(
            f'{field}.rule.movement must be 0 for a layer that takes {list(taken)} and gives '
            f'{list(output)}, as it compares them number by number, got {rule.movement}'
        )
    if isinstance(rule, ContrastSelfRule) and getattr(layer, 'skip', 'none') == 'add':
        raise ConfigError(
            f"{field}.skip must not be 'add' for the rule contrast_self: a pair of samples has "
            "nothing of its own that was carried, got 'add'"
        )
    if rule.streams == 2:
        _check_two_stream_layer(layer, field)


def _check_implementation(rule: Rule, field: str) -> None:
    """Refuse a rule of another package whose code is not there."""
    try:
        resolve_name(rule.implementation)
    except Exception as error:  # noqa: BLE001 - whatever the code of others raises
        raise ConfigError(
            f'{field}.rule {rule.name} cannot train: the implementation {rule.implementation!r} '
            f'of its settings cannot be loaded ({type(error).__name__}: {error})'
        ) from None


def _check_groups(layer: LayerConfig, channels: int, classes: int, field: str) -> None:
    """Refuse channels that cannot be cut into one group for each class."""
    if channels % classes == 0:
        return
    below = channels // classes * classes
    near = ' or '.join(str(each) for each in (below, below + classes) if each)
    name = {'dense': 'units', 'graph': 'units', 'conv': 'channels'}.get(layer.type, 'parts')
    raise ConfigError(
        f'{field}.{name} must give a multiple of {classes} for the rule {layer.rule.name}, which '
        f'has one group of channels for each of {classes} classes, got {channels}: try {near}'
    )


def check_passed(layer: LayerConfig, output: Shape, classes: int, field: str) -> None:
    """
    Refuse a layer that passes on zeros alone.

    :param output: shape of what the layer gives, which its rule brings to mean 0.
    """
    at_least = {
        MeanGoodnessRule: (2 * classes, 'each group of one class'),
        SpatialGoodnessRule: (2, 'each pixel'),
        BlockGoodnessRule: (2, 'each sample'),
        ContrastSelfRule: (2, 'each sample'),
        ReconstructRule: (2, 'each sample'),
    }
    channels, over = at_least.get(type(layer.rule), (1, ''))
    alone = output[:-1] in ((), (1, 1)) or isinstance(layer.rule, SpatialGoodnessRule)
    if output[-1] < channels and alone:
        raise ConfigError(
            f'{field} must give at least {channels} channels for the rule {layer.rule.name} where '
            f'a layer follows, got {output[-1]}: what passes on is brought to mean 0 over {over}, '
            'so of a single number nothing is left'
        )


def _rules_with_auxiliary() -> list[str]:
    return [name for name, rule in rules().items() if rule.takes_auxiliary]


def check_head_epochs(layer: LayerConfig, head_parameters: int, field: str) -> None:
    """Refuse epochs of a head that there is not."""
    if layer.head_epochs is not None and not head_parameters:
        raise ConfigError(
            f'{field}.head_epochs must be left out for the rule {layer.rule.name}, which has no '
            f'parameters of its own here, got {list(layer.head_epochs)}'
        )
    taught = isinstance(layer.rule, (SoftmaxHeadRule, BlockSoftmaxRule))
    first = (layer.epochs or (0, 0))[0]
    if taught and layer.head_epochs is not None and layer.head_epochs[0] > first:
        raise ConfigError(
            f'{field}.head_epochs must not begin after epoch {first}, as the layer learns '
            f'through the head of the rule {layer.rule.name}, which begins at zero, '
            f'got {list(layer.head_epochs)}'
        )


def _check_two_stream_layer(layer: LayerConfig, field: str) -> None:
    """Goodness of two streams is that of rectified activity, normalised to hide it."""
    if not isinstance(layer, (DenseLayer, ConvolutionLayer)):
        raise ConfigError(
            f'{field}.type must be dense or conv for the rule {layer.rule.name}, got {layer.type}'
        )
    plain = {'normalization': 'none', 'activation': 'relu', 'dropout': 0.0, 'epochs': None}
    plain |= {
        'head_epochs': None,
        'stem': 'none',
        'skip': 'none',
        'initialization': 'lecun',
        'order': ORDER,
    }
    wrong = [
        f'{field}.{name} must be {shown(value)} for the two-stream rule {layer.rule.name}, '
        f'got {shown(getattr(layer, name))}'
        for name, value in plain.items()
        if getattr(layer, name, value) != value
    ]
    if wrong:
        raise ConfigError('\n'.join(wrong))


def _check_streams(config: Config) -> None:
    if config.streams == 1 and config.stream.dtype == 'uint8':
        raise ConfigError(
            'stream.dtype uint8 holds activities of two-stream rules, which are not negative and '
            'of root mean square 1: use float16 or float32'
        )


def _check_chapters(resolved: ResolvedRun) -> None:
    """Refuse shares of the data, and negatives of them, that no worker could train on."""
    config, workers = resolved.config, resolved.config.workers
    if getattr(config.schedule, 'arrivals', 'each_epoch') == 'each_chapter':
        _check_images_stay(config)
    if config.schedule.name != 'federated':
        return
    least = resolved.shard_samples(workers - 1)
    if config.training.batch_size > least:
        raise ConfigError(
            f'training.batch_size must be at most the {least} training samples that each of '
            f'{workers} workers has, got {config.training.batch_size}'
        )
    adaptive = config.streams == 2 and config.training.negatives.mode == 'adaptive'
    if adaptive and resolved.lag_chapters % workers:
        raise ConfigError(
            f'training.negatives.lag_chapters must be a multiple of the {workers} workers of the '
            'federated schedule, as each makes negatives of its own data, '
            f'got {resolved.lag_chapters}'
        )
    for index, layer in enumerate(config.network):
        for name in layer.windows:
            raise ConfigError(
                f'network[{index}].{name} must be left out of the federated schedule, whose '
                'epochs differ from worker to worker'
            )


def _check_images_stay(config: Config) -> None:
    """What arrives can serve several epochs only if these see the same images."""
    for name, off in asdict(Augmentation()).items():
        value = getattr(config.data, name)
        if name != 'shift_fill' and value != off:
            raise ConfigError(
                f"schedule.arrivals must be 'each_epoch' where training images are augmented "
                f"(data.{name} is {shown(value)}), got 'each_chapter'"
            )


def _check_batch_fits(config: Config, facts: DataFacts) -> None:
    if not facts.nodes and config.training.batch_size > facts.train_samples:
        raise ConfigError(
            f'training.batch_size must be at most the {facts.train_samples} training samples of '
            f'{config.data.dataset}, got {config.training.batch_size}'
        )


def _check_replay_fits(resolved: ResolvedRun) -> None:
    """
    A sender must have room until its receiver has saved twice.

    Layers save when a fifth of the room is used at least, so it must hold four items.
    """
    if resolved.config.schedule.chapters:
        return  # nothing is sent again that is not on its maker's disk
    largest = resolved.largest_item_bytes
    if LEAST_REPLAY_ITEMS * largest > resolved.replay_bytes:
        raise ConfigError(
            f'stream.replay_mb must hold {LEAST_REPLAY_ITEMS} items of {largest / 1e6:.1f} MB, '
            f'got {resolved.config.stream.replay_mb}: raise it, or lower training.batch_size'
        )
