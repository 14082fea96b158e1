# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a run: typed, documented and checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from dff_nodes.runs.layers import AnyLayer, DenseLayer, GraphLayer
from dff_nodes.runs.learning_config import (
    ClassificationConfig,
    DataConfig,
    EarlyExitConfig,
    EvaluationConfig,
    TrainingConfig,
)
from dff_nodes.runs.rules import ClassNodesRule
from dff_nodes.runs.running_config import (
    AnyDevice,
    CheckpointConfig,
    ComputeConfig,
    DeviceConfig,
    LabConfig,
    MetricsConfig,
    RestartConfig,
    StreamConfig,
)
from dff_nodes.runs.schedules import AnySchedule, RingSchedule, SingleLayerSchedule, StreamSchedule
from dff_nodes.runs.section import NO_EFFECT, Section

SPARE = 'spare'
"""key of placement that lists devices instead of nodes"""


def named_network(value: Any) -> Any:
    """Accept `network: graph` as short for two graph layers."""
    if not isinstance(value, str):
        return value
    if value != 'graph':
        raise ValueError(f"it must be a list of layers, or 'graph', got {value!r}")
    return [{'type': 'graph'}, {'type': 'graph'}]


class Config(Section):
    """A whole run."""

    seed: int = Field(0, ge=0, lt=2**63, description='of all randomness')
    data: DataConfig = Field(DataConfig(), description='what is learned')
    network: Annotated[list[AnyLayer], BeforeValidator(named_network)] = Field(
        default_factory=lambda: [DenseLayer(), DenseLayer(), DenseLayer()],
        min_length=1,
        max_length=1000,
        description='the layers, first to last; each runs in a node of its own. graph: two graph '
        'layers',
    )
    training: TrainingConfig = Field(TrainingConfig(), description='how it is learned')
    schedule: AnySchedule = Field(
        StreamSchedule(),
        description='who trains what, when: stream (activations travel, all layers work at once), '
        'or one of Pipeline Forward-Forward (layers travel, a chapter at a time): sequential, '
        'single_layer, all_layers, federated',
    )
    classification: ClassificationConfig = Field(
        ClassificationConfig(), description='how a class is found'
    )
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description='when it is measured')
    early_exit: EarlyExitConfig = Field(
        EarlyExitConfig(),
        description='which samples pass only some of the layers',
        json_schema_extra=NO_EFFECT,
    )
    stream: StreamConfig = Field(StreamConfig(), description='how items travel')
    metrics: MetricsConfig = Field(
        MetricsConfig(), description='what is written', json_schema_extra=NO_EFFECT
    )
    checkpoint: CheckpointConfig = Field(
        CheckpointConfig(),
        description='when layers save their state',
        json_schema_extra=NO_EFFECT,
    )
    restart: RestartConfig = Field(
        RestartConfig(),
        description='what becomes of a node that dies',
        json_schema_extra=NO_EFFECT,
    )
    compute: ComputeConfig = Field(ComputeConfig(), description='threads and device')
    placement: dict[str, AnyDevice] = Field(
        default_factory=dict,
        description='device name to nodes; empty: all on this machine; spare: devices that take '
        'over a layer that is lost (restart.lease_s)',
        json_schema_extra=NO_EFFECT,
    )
    lab: LabConfig = Field(
        LabConfig(),
        description='the emulated devices of dff lab',
        json_schema_extra=NO_EFFECT,
    )

    @property
    def devices(self) -> dict[str, DeviceConfig]:
        """Devices of the placement that run nodes from the beginning."""
        return {name: device for name, device in self.placement.items() if name != SPARE}

    @property
    def spares(self) -> list[str]:
        """Devices that take over a layer whose own device is lost."""
        return self.placement[SPARE].nodes if SPARE in self.placement else []

    @model_validator(mode='after')
    def _spares_have_replicas(self) -> Config:
        if self.spares and not self.checkpoint.replicate:
            raise ValueError(
                'placement.spare needs checkpoint.replicate: true, as a spare device takes over '
                'from the replica at the coordinator'
            )
        return self

    @model_validator(mode='after')
    def _placement_names_every_node_once(self) -> Config:
        if not self.placement:
            return self
        known = ['coordinator', *worker_names(self)]
        placed = [node for device in self.devices.values() for node in device.nodes]
        for node in placed:
            if node not in known:
                raise ValueError(
                    f'placement names the node {node!r}, but this network has {", ".join(known)}'
                )
        for node in known:
            if placed.count(node) != 1:
                raise ValueError(
                    f'placement must give {node!r} to exactly one device, '
                    f'it gives it to {placed.count(node)}'
                )
        return self

    @model_validator(mode='after')
    def _last_layers_can_classify(self) -> Config:
        if self.classification.layers == 'without_first' and len(self.network) == 1:
            raise ValueError(
                "classification.layers must be 'all' for a network of one layer, "
                "got 'without_first'"
            )
        return self

    @model_validator(mode='after')
    def _every_layer_but_the_last_has_a_threshold(self) -> Config:
        thresholds = self.early_exit.thresholds
        if thresholds is not None and len(thresholds) != len(self.network) - 1:
            raise ValueError(
                f'early_exit.thresholds must have one entry for each of the '
                f'{len(self.network) - 1} layers before the last, got {len(thresholds)}'
            )
        return self

    @model_validator(mode='after')
    def _graph_layers_stay_among_themselves(self) -> Config:
        for index, layer in enumerate(self.network):
            field, is_graph = f'network[{index}]', isinstance(layer, GraphLayer)
            if is_graph != self.is_graph:
                raise ValueError(
                    f'{field}.type must be {self.network[0].type!r} as that of network[0], got '
                    f'{layer.type!r}: graph layers take nodes, and no other layer does'
                )
            if is_graph != isinstance(layer.rule, ClassNodesRule):
                right = "'class_nodes', the one" if is_graph else "another than 'class_nodes', one"
                raise ValueError(
                    f'{field}.rule must be {right} for type {layer.type}, got {layer.rule.name!r}'
                )
        return self

    @model_validator(mode='after')
    def _streams_are_the_same(self) -> Config:
        by_streams = {layer.rule.streams: layer.rule.name for layer in self.network}
        if len(by_streams) > 1:
            raise ValueError(
                f"network has the rule '{by_streams[2]}', which needs positive and negative "
                f"samples, beside '{by_streams[1]}', which needs samples and their labels: choose "
                'rules of one kind'
            )
        return self

    @model_validator(mode='after')
    def _precision_is_for_samples_with_labels(self) -> Config:
        if self.compute.precision != 'float32' and (self.streams == 2 or self.is_graph):
            kind = 'graph layers' if self.is_graph else 'positive and negative samples'
            raise ValueError(
                f"compute.precision must be 'float32' for rules of {kind}, got "
                f'{self.compute.precision!r}'
            )
        return self

    @model_validator(mode='after')
    def _graphs_stream_whole(self) -> Config:
        if self.is_graph and self.schedule.chapters:
            raise ValueError(
                f"schedule must be 'stream' for graph layers, got {self.schedule.name!r}"
            )
        if self.is_graph and self.early_exit.thresholds is not None:
            raise ValueError(
                'early_exit.thresholds must be null for graph layers: a node is not answered '
                'without its neighbours'
            )
        return self

    @model_validator(mode='after')
    def _chapters_have_whole_epochs(self) -> Config:
        schedule = self.schedule
        if not schedule.chapters:
            return self
        splits, epochs = schedule.splits or self.training.epochs, self.training.epochs
        if epochs % splits:
            raise ValueError(
                f'schedule.splits must divide training.epochs ({epochs}), so that a chapter has '
                f'whole epochs, got {splits}'
            )
        if schedule.name == 'federated' and schedule.data == 'sent':
            raise ValueError(
                "schedule.data must be 'own' for the federated schedule, whose data stays where "
                "it is, got 'sent'"
            )
        if self.checkpoint.replicate:
            raise ValueError(
                f'checkpoint.replicate is for the schedule stream, {schedule.name!r} keeps no '
                'copies elsewhere: leave it false'
            )
        for index, layer in enumerate(self.network):
            for window in layer.windows:
                if getattr(schedule, 'moments', 'travel') == 'stay':
                    raise ValueError(
                        f"schedule.moments must be 'travel' where network[{index}].{window} "
                        "limits when a layer learns, got 'stay'"
                    )
        if self.spares:
            raise ValueError(
                f'placement.spare is for the schedule stream, {schedule.name!r} has none: a '
                'worker that is started again goes on with its own checkpoints'
            )
        if self.hybrid:
            raise ValueError(
                "training.negatives.mode 'hybrid' is for the schedule stream, got "
                f'{schedule.name!r}'
            )
        return self

    @model_validator(mode='after')
    def _layers_learn_within_the_run(self) -> Config:
        for index, layer in enumerate(self.network):
            for name, window in layer.windows.items():
                if window[0] >= self.training.epochs:
                    raise ValueError(
                        f'network[{index}].{name} must begin before training.epochs '
                        f'({self.training.epochs}), got {list(window)}'
                    )
        return self

    @model_validator(mode='after')
    def _hybrids_have_a_readout(self) -> Config:
        if self.hybrid and self.classification.mode != 'one_pass':
            raise ValueError(
                "training.negatives.mode 'hybrid' shows no class to the layers, so "
                "classification.mode must be 'one_pass', got 'goodness'"
            )
        return self

    @property
    def hybrid(self) -> bool:
        """Whether negatives are hybrid images rather than wrong classes."""
        return self.streams == 2 and self.training.negatives.mode == 'hybrid'

    @property
    def is_graph(self) -> bool:
        """Whether the layers take the nodes of a graph."""
        return isinstance(self.network[0], GraphLayer)

    @property
    def streams(self) -> int:
        """2: positive and negative samples travel between layers; 1: samples and labels."""
        return self.network[0].rule.streams

    @property
    def workers(self) -> int:
        """Nodes that train."""
        schedule = self.schedule
        if isinstance(schedule, RingSchedule):
            return schedule.workers or len(self.network)
        owned = isinstance(schedule, (StreamSchedule, SingleLayerSchedule))
        return len(self.network) if owned else 1

    @property
    def has_readout(self) -> bool:
        """Whether layers train a read-out; rules of one stream need none."""
        # Between chapters there is time to ask for the goodness of every class.
        adaptive = self.training.negatives.mode == 'adaptive' and not self.schedule.chapters
        return self.streams == 2 and (adaptive or self.classification.mode == 'one_pass')


def layer_names(config: Config) -> list[str]:
    """Names of the layers, first to last."""
    return [f'layer_{index}' for index in range(len(config.network))]


def worker_names(config: Config) -> list[str]:
    """Names of the nodes that train: the layers, or the workers of a schedule with chapters."""
    if not config.schedule.chapters:
        return layer_names(config)
    return [f'worker_{index}' for index in range(config.workers)]
