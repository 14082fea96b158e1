# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A configuration together with the facts of its data: shapes, sizes, memory and bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property

from dff_nodes.data.facts import DataFacts
from dff_nodes.runs.checks import (
    check_data,
    check_head_epochs,
    check_layer,
    check_passed,
    check_run,
)
from dff_nodes.runs.config import Config, layer_names
from dff_nodes.runs.config_file import config_hash
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.layers import (
    ConvolutionLayer,
    DenseLayer,
    LayerConfig,
    MapSettings,
    OptimizerConfig,
)
from dff_nodes.runs.rules import Shape
from dff_nodes.runs.shapes import auxiliary_outcome, body_shape, layer_outcome

USUAL_REPLAY_ITEMS = 16
LEAST_SAVE_SHARE = 0.2
"""of the room for replay, after which layers save where the room holds few items"""
USUAL_REPLAY_BYTES = 32_000_000
LABEL_BYTES = 2
ROW_BYTES = SCORE_BYTES = 4
UNLABELLED = 65535
"""label of a node of a graph whose class no layer may know"""
EDGE_BYTES = 8
DTYPE_BYTES = {'uint8': 1, 'float16': 2, 'float32': 4}


MOMENTS = {'adam': 2, 'adamw': 2, 'sgd': 1, 'muon': 1}
"""numbers that an optimizer keeps for each parameter"""


@dataclass(frozen=True)
class LayerShape:
    """What one layer takes, gives and holds."""

    name: str
    input_shape: Shape
    """(features,), or (height, width, channels): what arrives, carried maps included"""
    output_shape: Shape
    """of what it gives"""
    judged_shape: Shape
    """of what its rule scores and learns from: its output behind the auxiliary network"""
    carried: int
    """channels that travel beside its input"""
    passes_carried: int
    """channels that travel beside its output"""
    parameters: int
    """learned numbers of the layer, its rule and its read-out"""
    matrix_parameters: int
    """of them weights of the layer itself and of its auxiliary network"""
    head_parameters: int
    """of them those of its rule"""
    widest: int
    """numbers of one sample where the layer has most of them"""
    macs: int
    """multiplications with a weight, of one row through the layer and its auxiliary network"""
    readout_classes: int
    """classes of the layer's read-out on SCORE items, 0 without one"""
    config: LayerConfig
    optimizer: OptimizerConfig

    @property
    def inputs(self) -> int:
        """Numbers of one sample that arrive."""
        return math.prod(self.input_shape)

    @property
    def units(self) -> int:
        """Numbers of one sample that the layer gives."""
        return math.prod(self.output_shape)

    @property
    def passed_shape(self) -> Shape:
        """What passes on."""
        if not self.passes_carried:
            return self.output_shape
        return *self.output_shape[:2], self.output_shape[2] + self.passes_carried

    @property
    def state_bytes(self) -> int:
        """Parameters, their gradient and the optimizers' moments, float32."""
        # The read-out always has Adam, with its two moments.
        readout = (self.units + 1) * self.readout_classes
        optimizer = self.optimizer
        others = self.parameters - readout - self.matrix_parameters - self.head_parameters
        groups = (
            (self.matrix_parameters, MOMENTS[optimizer.name]),
            (others, MOMENTS[optimizer.of_others.name]),
            (self.head_parameters, MOMENTS[optimizer.of_head.name]),
            (readout, MOMENTS['adam']),
        )
        return 4 * sum(count * (2 + moments) for count, moments in groups)


@dataclass(frozen=True)
class ResolvedRun:
    """
    All that decides a run's result; the same on every device.

    :raises ConfigError: from `resolve` when configuration and data do not fit.
    """

    config: Config
    facts: DataFacts

    @cached_property
    def layers(self) -> list[LayerShape]:
        """Shapes of the layers, first to last."""
        shapes: list[LayerShape] = []
        arriving, carried = self._first_shape, 0
        for index in range(len(self.config.network)):
            shapes.append(self._layer_shape(index, arriving, carried))
            arriving, carried = shapes[-1].passed_shape, shapes[-1].passes_carried
        return shapes

    @property
    def _first_shape(self) -> Shape:
        """What arrives at layer 0 once the label is in it, where a label is shown."""
        shape, facts = self.facts.input_shape, self.facts
        if self.config.hybrid:
            return shape
        if self.config.streams == 2 and self.config.data.label.position == 'prepend':
            if not isinstance(self.config.network[0], DenseLayer):
                raise ConfigError(
                    "data.label.position is 'prepend', which is for a dense layer 0: use "
                    "'overwrite', or 'planes' for a convolution"
                )
            return (facts.features + facts.classes,)
        if self.config.streams == 2 and self.config.data.label.position == 'planes':
            if not isinstance(self.config.network[0], ConvolutionLayer) or len(shape) != 3:
                raise ConfigError(
                    "data.label.position is 'planes', which is for a convolution of images as "
                    "layer 0: use 'overwrite' or 'prepend'"
                )
            return *shape[:2], shape[2] + facts.classes
        return shape

    def _layer_shape(self, index: int, arriving: Shape, carried: int) -> LayerShape:
        name, layer = layer_names(self.config)[index], self.config.network[index]
        field = f'network[{index}]'
        own = arriving if not carried else (*arriving[:2], arriving[2] - carried)
        outcome = layer_outcome(layer, own, field)
        behind = auxiliary_outcome(layer, outcome.shape, field)
        taken = body_shape(layer, own, field)
        check_layer(layer, index, taken, behind.shape, self.facts.classes, field)
        if index + 1 < len(self.config.network):
            check_passed(layer, outcome.shape, self.facts.classes, field)
        readout = self.facts.classes if self.config.has_readout else 0
        passes = _carried_behind(layer, taken, outcome.shape, carried, field)
        head = layer.rule.parameters(taken, behind.shape, self.facts.classes)
        check_head_epochs(layer, head, field)
        learned = outcome.parameters + behind.parameters
        return LayerShape(
            name=name,
            input_shape=arriving,
            output_shape=outcome.shape,
            judged_shape=behind.shape,
            carried=carried,
            passes_carried=passes,
            parameters=learned + head + (math.prod(outcome.shape) + 1) * readout,
            matrix_parameters=outcome.matrix_parameters + behind.matrix_parameters,
            head_parameters=head,
            widest=outcome.widest + behind.widest,
            macs=outcome.macs + behind.macs,
            readout_classes=readout,
            config=layer,
            optimizer=layer.optimizer or self.config.training.optimizer,
        )

    @property
    def is_graph(self) -> bool:
        """Whether every item holds the same graph, whole."""
        return self.facts.nodes > 0

    @property
    def batch_size(self) -> int:
        """Samples of a full TRAIN item; of a graph all its nodes."""
        return self.facts.nodes or self.config.training.batch_size

    @property
    def batches_per_epoch(self) -> int:
        """TRAIN items of one epoch; the last may be smaller."""
        return 1 if self.is_graph else -(-self.facts.train_samples // self.batch_size)

    @cached_property
    def train_steps(self) -> int:
        """Training steps of a layer in the whole run."""
        return sum(self.chapter_steps(chapter) for chapter in range(self.chapters))

    @property
    def chapters(self) -> int:
        """Parts of the run between which layers may travel; 1 where activations do."""
        schedule = self.config.schedule
        if not schedule.chapters:
            return 1
        return schedule.splits or self.config.training.epochs

    def chapter_steps(self, chapter: int) -> int:
        """Training steps of a layer in one chapter."""
        batch = self.config.training.batch_size
        epochs = self.config.training.epochs // self.chapters
        return epochs * -(-self.chapter_samples(chapter) // batch)

    def chapter_samples(self, chapter: int) -> int:
        """Training samples that a chapter's worker has."""
        if self.config.schedule.name != 'federated':
            return self.facts.train_samples
        return self.shard_samples(chapter % self.config.workers)

    def shard_samples(self, worker: int) -> int:
        """Training samples of a worker whose data is its own; shares differ by one at most."""
        whole, rest = divmod(self.facts.train_samples, self.config.workers)
        return whole + (worker < rest)

    @property
    def lag_chapters(self) -> int:
        """Chapters until adaptive negatives are used."""
        return self.config.training.negatives.lag_chapters or self.config.workers

    @property
    def candidates(self) -> int:
        """Rows that an EVALUATE item holds for each sample behind layer 0."""
        every_class = self.config.streams == 2 and self.config.classification.mode == 'goodness'
        return self.facts.classes if every_class else 1

    @property
    def evaluation_batch(self) -> int:
        """Samples of an EVALUATE item: as many rows as a TRAIN item has, at most."""
        rows = self.config.streams * self.batch_size
        return max(1, rows // self.candidates)

    @property
    def has_early_exit(self) -> bool:
        """Whether layers answer samples of an evaluation on the way."""
        return self.config.early_exit.thresholds is not None

    def adds_up_scores(self, layer: int) -> bool:
        """Whether the scores of the layers before are needed at a layer, for an early exit."""
        first = {'all': 0, 'without_first': 1, 'last': layer}[self.config.classification.layers]
        return self.has_early_exit and layer > first

    def exit_bytes(self, layer: int) -> int:
        """Bytes beside the rows of one sample that tell which it is, and its scores so far."""
        if not self.has_early_exit or layer == 0:
            return 0
        return ROW_BYTES + SCORE_BYTES * self.facts.classes * self.adds_up_scores(layer)

    def arriving(self, layer: int) -> tuple[Shape, str]:
        """Shape and element type of one row that arrives at a layer."""
        if layer == 0:
            return self.facts.input_shape, self.facts.dtype
        return self.layers[layer - 1].passed_shape, self.config.stream.dtype

    def rows(self, layer: int, kind: str) -> int:
        """Rows that one sample of an item of a kind (TRAIN, SCORE, EVALUATE) has at a layer."""
        if kind == 'SCORE' or (layer == 0 and not (self.config.hybrid and kind == 'TRAIN')):
            return 1
        return self.config.streams if kind == 'TRAIN' else self.candidates

    def labels(self, layer: int, kind: str) -> int:
        """Labels that travel with one sample of an item of a kind to a layer."""
        if kind == 'TRAIN':
            if self.config.streams == 1:
                return 1
            return 2 if layer == 0 and not self.config.hybrid else 0
        # The virtual nodes of a graph's classes are those of the training nodes, whenever.
        return int(kind == 'SCORE' or self.is_graph)

    @property
    def edge_bytes(self) -> int:
        """Payload of the edges that travel with an item."""
        return EDGE_BYTES * self.facts.edges

    def row_bytes(self, layer: int) -> int:
        """Payload of one row that arrives at a layer."""
        shape, dtype = self.arriving(layer)
        return math.prod(shape) * DTYPE_BYTES[dtype]

    def hop_bytes(self, layer: int, kind: str, samples: int) -> int:
        """Payload of an item of a kind that arrives at a layer, labels and edges included."""
        row = self.rows(layer, kind) * self.row_bytes(layer)
        beside = self.exit_bytes(layer) if kind == 'EVALUATE' else 0
        each = row + LABEL_BYTES * self.labels(layer, kind) + beside
        return samples * each + self.edge_bytes

    def buffer_bytes(self, shape: LayerShape) -> int:
        """Give what a batch takes where it is widest in a layer, float32."""
        return 4 * self.config.streams * self.batch_size * shape.widest

    @property
    def largest_buffer_bytes(self) -> int:
        """The same of the layer where it is largest."""
        return max(self.buffer_bytes(shape) for shape in self.layers)

    def item_bytes(self, layer: int) -> int:
        """Payload of the largest item that arrives at a layer."""
        batch = self.batch_size
        kinds = {'TRAIN': batch, 'EVALUATE': self.evaluation_batch}
        if self.config.has_readout:
            kinds['SCORE'] = batch
        return max(self.hop_bytes(layer, kind, count) for kind, count in kinds.items())

    @cached_property
    def replay_bytes(self) -> int:
        """Memory that a sender may use for items that are in no checkpoint yet."""
        configured = self.config.stream.replay_mb
        if configured is not None:
            return int(configured * 1e6)
        items = max(USUAL_REPLAY_ITEMS, 4 * self.config.stream.window_items)
        return max(USUAL_REPLAY_BYTES, items * self.largest_item_bytes)

    @cached_property
    def save_after_bytes(self) -> int:
        """
        What may pass the widest hop between two checkpoints.

        Items may be forgotten once they are in the older of a layer's two newest checkpoints, and
        one window is on its way to the layer, another through it, before a checkpoint is told.
        """
        under_way = 2 * self.config.stream.window_items * self.largest_item_bytes
        spare = 0.9 * (self.replay_bytes - under_way) / 2
        return int(max(LEAST_SAVE_SHARE * self.replay_bytes, spare))

    @property
    def largest_item_bytes(self) -> int:
        """Payload of the largest item on any hop."""
        return max(self.item_bytes(layer) for layer in range(len(self.layers)))

    @property
    def hash(self) -> str:
        """Digest of all settings that can change the result."""
        return config_hash(self.config)

    def to_json(self) -> str:
        """Write as JSON, for the nodes of other devices."""
        tree = {'config': self.config.model_dump(mode='json'), 'facts': self.facts.as_dict()}
        return json.dumps(tree)

    @staticmethod
    def from_json(text: str) -> ResolvedRun:
        """Read what `to_json` wrote; raises ValueError for anything else."""
        tree = json.loads(text)
        try:
            config = Config.model_validate(tree['config'])
            return resolve(config, DataFacts.from_dict(tree['facts']))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'not a resolved run: {error!r}') from error


def resolve(config: Config, facts: DataFacts) -> ResolvedRun:
    """Join a configuration with its data's facts, and check that they fit."""
    check_data(config, facts)
    resolved = ResolvedRun(config, facts)
    check_run(resolved)
    return resolved


def _carried_behind(
    layer: LayerConfig, own: Shape, output: Shape, carried: int, field: str
) -> int:
    """Channels that travel on beside a layer's output."""
    skip = layer.skip if isinstance(layer, MapSettings) else 'none'
    if skip in ('carry', 'add') and not carried:
        raise ConfigError(
            f'{field}.skip is {skip!r}, but nothing travels beside its input: a layer before it '
            'needs skip: begin, and those between them skip: carry'
        )
    for which, shape in (('takes', own), ('gives', output)):
        if skip != 'none' and len(shape) != 3:
            raise ConfigError(
                f"{field}.skip must be 'none' for a layer that {which} {shape[0]} features, as "
                f'maps are what travels beside maps, got {skip!r}'
            )
    if skip != 'none':
        factor = max(1, own[0] // output[0])
        if tuple(size // factor for size in own[:2]) != output[:2]:
            raise ConfigError(
                f'{field}.skip must be none where maps of {own[0]} x {own[1]} pixels become '
                f'{output[0]} x {output[1]}: what is carried beside them is averaged over whole '
                'pixels, as by pool, so keep the size otherwise (padding, stride)'
            )
    if skip == 'add' and carried > output[2]:
        raise ConfigError(
            f"{field}.skip is 'add', but {carried} channels were carried, more than the "
            f'{output[2]} that the layer gives'
        )
    return {'begin': own[2] if skip == 'begin' else 0, 'carry': carried}.get(skip, 0)
