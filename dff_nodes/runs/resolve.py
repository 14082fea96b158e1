# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A configuration together with the facts of its data: shapes, sizes, memory and bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from dff_nodes.data.facts import DataFacts
from dff_nodes.runs.config import Config, LayerConfig, OptimizerConfig, layer_names
from dff_nodes.runs.config_file import ConfigError, config_hash

LEAST_REPLAY_ITEMS = 4
USUAL_REPLAY_ITEMS = 8
USUAL_REPLAY_BYTES = 32_000_000
DTYPE_BYTES = {'uint8': 1, 'float16': 2, 'float32': 4}


@dataclass(frozen=True)
class LayerShape:
    """What one layer takes and holds."""

    name: str
    inputs: int
    units: int
    readout_classes: int
    """classes of the layer's read-out, 0 without one"""
    config: LayerConfig
    optimizer: OptimizerConfig

    @property
    def parameters(self) -> int:
        """Learned numbers of the layer and its read-out."""
        own = self.inputs * self.units + self.units
        return own + (self.units + 1) * self.readout_classes

    @property
    def state_bytes(self) -> int:
        """Parameters, their gradient and the optimizer's moments, float32."""
        readout = (self.units + 1) * self.readout_classes
        moments = 2 if self.optimizer.name == 'adam' else 1
        # The read-out always has Adam, with its two moments.
        return 4 * ((self.parameters - readout) * (2 + moments) + readout * 4)


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
        config, facts = self.config, self.facts
        prepend = config.data.label.position == 'prepend'
        inputs = facts.features + (facts.classes if prepend else 0)
        shapes = []
        for name, layer in zip(layer_names(config), config.network, strict=True):
            optimizer = layer.optimizer or config.training.optimizer
            classes = facts.classes if config.has_readout else 0
            shapes.append(LayerShape(name, inputs, layer.units, classes, layer, optimizer))
            inputs = layer.units
        return shapes

    @property
    def batches_per_epoch(self) -> int:
        """TRAIN items of one epoch; the last may be smaller."""
        return -(-self.facts.train_samples // self.config.training.batch_size)

    @property
    def train_steps(self) -> int:
        """TRAIN items of the whole run."""
        return self.batches_per_epoch * self.config.training.epochs

    @property
    def candidates(self) -> int:
        """Rows that an EVALUATE item holds for each sample behind layer 0."""
        return self.facts.classes if self.config.classification.mode == 'goodness' else 1

    @property
    def evaluation_batch(self) -> int:
        """Samples of an EVALUATE item: as many rows as a TRAIN item has, at most."""
        return max(1, 2 * self.config.training.batch_size // self.candidates)

    def item_bytes(self, layer: int) -> int:
        """Payload of the largest item that arrives at a layer."""
        if layer == 0:
            samples = max(self.config.training.batch_size, self.evaluation_batch)
            return samples * (self.facts.features * DTYPE_BYTES[self.facts.dtype] + 4)
        rows = max(2 * self.config.training.batch_size, self.evaluation_batch * self.candidates)
        width = self.config.network[layer - 1].units
        return rows * width * DTYPE_BYTES[self.config.stream.dtype]

    def hop_bytes(self, layer: int, kind: str, samples: int) -> int:
        """Payload of an item of a kind (TRAIN, SCORE, EVALUATE) that arrives at a layer."""
        if layer == 0:
            return samples * self.facts.features * DTYPE_BYTES[self.facts.dtype]
        rows = {'TRAIN': 2, 'SCORE': 1, 'EVALUATE': self.candidates}[kind] * samples
        width = self.config.network[layer - 1].units
        return rows * width * DTYPE_BYTES[self.config.stream.dtype]

    @cached_property
    def replay_bytes(self) -> int:
        """Memory that a sender may use for items that are in no checkpoint yet."""
        configured = self.config.stream.replay_mb
        if configured is not None:
            return int(configured * 1e6)
        return max(USUAL_REPLAY_BYTES, USUAL_REPLAY_ITEMS * self.largest_item_bytes)

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
    _check_label_fits(config, facts)
    _check_batch_fits(config, facts)
    resolved = ResolvedRun(config, facts)
    _check_replay_fits(resolved)
    return resolved


def _check_label_fits(config: Config, facts: DataFacts) -> None:
    if config.data.label.position == 'overwrite' and facts.classes >= facts.features:
        raise ConfigError(
            f"data.label.position is 'overwrite', but {facts.classes} classes leave nothing of "
            f"{facts.features} inputs: use 'prepend'"
        )


def _check_batch_fits(config: Config, facts: DataFacts) -> None:
    if config.training.batch_size > facts.train_samples:
        raise ConfigError(
            f'training.batch_size must be at most the {facts.train_samples} training samples of '
            f'{config.data.dataset}, got {config.training.batch_size}'
        )


def _check_replay_fits(resolved: ResolvedRun) -> None:
    """
    A sender must have room until its receiver has saved twice.

    Layers save when half of the room is used, so it must hold four items.
    """
    largest = resolved.largest_item_bytes
    if LEAST_REPLAY_ITEMS * largest > resolved.replay_bytes:
        raise ConfigError(
            f'stream.replay_mb must hold {LEAST_REPLAY_ITEMS} items of {largest / 1e6:.1f} MB, '
            f'got {resolved.config.stream.replay_mb}: raise it, or lower training.batch_size'
        )
