# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a run: typed, documented and checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dff_nodes.runs.layers import (
    AnyLayer,
    AnyOptimizer,
    DenseLayer,
    GraphLayer,
    LearningRateConfig,
    OptimizerConfig,
)
from dff_nodes.runs.rules import ClassNodesRule
from dff_nodes.runs.schedules import AnySchedule, RingSchedule, SingleLayerSchedule, StreamSchedule
from dff_nodes.runs.section import NO_EFFECT, Section

SPARE = 'spare'
"""key of placement that lists devices instead of nodes"""


class LabelConfig(Section):
    """How a candidate class is shown to the first layer."""

    position: Literal['overwrite', 'prepend', 'planes'] = Field(
        'overwrite',
        description='overwrite: the one-hot label replaces the first inputs (Hinton 2022); '
        'prepend: it is put before them, so no pixel is lost; planes: every class has a '
        'channel of its own, for convolutions',
    )
    amplitude: float = Field(
        1.0, gt=0, le=1000, description='value of the one-hot entry, pixels being 0 to 1'
    )


class DataConfig(Section):
    """What the network learns from."""

    dataset: str = Field(
        'digits',
        min_length=1,
        description='digits, mnist, fashion_mnist, cifar10, or the path of an .npz with x_train, '
        'y_train, x_test, y_test, or of a graph with edges, features, labels, train_mask, '
        'test_mask',
    )
    root: str | None = Field(
        None,
        description='folder of the downloaded datasets; default $DFF_DATA, else '
        '~/.cache/dff/datasets',
        json_schema_extra=NO_EFFECT,
    )
    download: bool = Field(
        True,
        description='fetch a dataset that is not in root yet',
        json_schema_extra=NO_EFFECT,
    )
    shift_pixels: int = Field(
        0,
        ge=0,
        le=16,
        description='training images are moved by up to this many whole pixels each way',
    )
    shift_fill: Literal['zero', 'edge', 'reflect'] = Field(
        'zero', description='what a shift uncovers: zeros, the outermost pixels, or a mirror image'
    )
    flip: bool = Field(False, description='half of the training images are mirrored left to right')
    cutout_pixels: int = Field(
        0,
        ge=0,
        le=256,
        description='a square of so many pixels of every training image is set to 0, at a random '
        'place that may reach over the edge',
    )
    standardize: bool = Field(
        False,
        description='every image is brought to mean 0 and standard deviation 1 over its numbers; '
        'for rules of one stream (those of two scale image and label together)',
    )
    validation_samples: int = Field(
        0,
        ge=0,
        description='training samples set aside; when > 0 they take the place of the test set, '
        'so that settings can be chosen without looking at it; of a graph, nodes of its val_mask',
    )
    label: LabelConfig = Field(LabelConfig(), description='how a class is shown to layer 0')


class NegativesConfig(Section):
    """Which wrong class a negative sample carries."""

    mode: Literal['fixed', 'random', 'adaptive', 'hybrid'] = Field(
        'random',
        description='fixed: one wrong class per sample, drawn once; random: drawn anew for every '
        'batch, or chapter of a schedule with chapters; adaptive: one that the network finds '
        'likely; hybrid: no class is shown, and a negative is made of large parts of two images '
        '(Hinton 2022, unsupervised)',
    )
    pick: Literal['sample', 'hardest'] = Field(
        'sample',
        description='adaptive: sample from the softmax of the wrong classes, or the likeliest',
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="sample: of the softmax of the mean of the layers' scores; higher draws "
        'less likely wrong classes more often',
    )
    lag_chapters: int | None = Field(
        None,
        ge=1,
        le=100000,
        description='adaptive, of schedules with chapters: a chapter takes the negatives that the '
        'network of so many chapters before finds likely, and random ones before there is one; '
        'default the number of workers, so that none waits for another',
    )
    lag_batches: int = Field(
        8,
        ge=1,
        le=1024,
        description='adaptive: a batch is scored this many batches before it is trained on; '
        'enough that the pipeline never waits for the scores',
    )


class ReadoutConfig(Section):
    """The linear softmax read-out that a layer trains on its own normalised activity."""

    learning_rate: float = Field(0.001, gt=0, le=10, description='of its Adam optimizer')
    neutral: float = Field(
        0.1,
        ge=0,
        le=1,
        description='share of the label amplitude in every entry of the neutral label',
    )


class TrainingConfig(Section):
    """How long and how fast."""

    epochs: int = Field(20, ge=1, le=100000, description='passes over the training set')
    batch_size: int = Field(
        64, ge=1, le=65536, description='samples of one TRAIN item; a graph is one item, whole'
    )
    optimizer: AnyOptimizer = Field(OptimizerConfig(), description='of every layer')
    learning_rate: LearningRateConfig = Field(
        LearningRateConfig(), description='its course over the run'
    )
    negatives: NegativesConfig = Field(NegativesConfig(), description='wrong classes')
    readout: ReadoutConfig = Field(
        ReadoutConfig(), description='used by adaptive negatives and one_pass classification'
    )


class ClassificationConfig(Section):
    """How layer-wise scores become a class."""

    mode: Literal['goodness', 'one_pass'] = Field(
        'goodness',
        description='of two-stream rules. goodness: every class is tried, the one with the '
        "highest goodness wins; one_pass: one pass with a neutral label, the layers' read-outs "
        'vote. Rules of one stream always score all classes in one pass',
    )
    layers: Literal['all', 'without_first', 'last'] = Field(
        'all', description='whose scores are added up'
    )


class EvaluationConfig(Section):
    """When and on what the accuracy is measured."""

    every_epochs: int = Field(
        1, ge=0, description='test accuracy after every so many epochs; 0: only at the end'
    )
    train_samples: int = Field(
        1000,
        ge=0,
        description='at most so many training samples give train_accuracy at the end; 0: none',
    )


class EarlyExitConfig(Section):
    """
    Which samples of an evaluation a layer answers itself, LightFF 2404.05241.

    `dff calibrate` chooses the thresholds and `dff evaluate --early-exit` evaluates with them;
    training knows none.
    """

    thresholds: list[float | None] | None = Field(
        None,
        description='of each layer but the last: it answers the samples whose confidence reaches '
        'that, and they travel no further; null: none. Without the list no layer does',
    )
    confidence: Literal['score', 'margin'] = Field(
        'score',
        description='score: the highest class score of the layers so far (LightFF); margin: by '
        'how much it exceeds the second highest',
    )
    max_loss: float = Field(
        0.1,
        ge=0,
        le=100,
        description='points of accuracy on the validation samples that dff calibrate may give up',
    )


class StreamConfig(Section):
    """How items travel."""

    dtype: Literal['float32', 'float16', 'uint8'] = Field(
        'float32',
        description='of activations on the wire; float16 halves the bytes, uint8 (sixteenths, 0 '
        'to 15.94) quarters them, and --reference rounds alike',
    )
    window_items: int = Field(
        4, ge=1, le=1024, description='items a receiver has room for', json_schema_extra=NO_EFFECT
    )
    replay_mb: float | None = Field(
        None,
        gt=0,
        le=1048576,
        description='memory a sender may use for items that are in no checkpoint yet, MB; null: '
        '32, and more only where 16 of the largest items, or four windows of them, need it',
        json_schema_extra=NO_EFFECT,
    )
    heartbeat_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description='between two status messages of a node, s',
        json_schema_extra=NO_EFFECT,
    )
    resend_s: float = Field(
        1.0,
        ge=0.05,
        le=600,
        description='without progress after which an item is sent again, s; doubles each time',
        json_schema_extra=NO_EFFECT,
    )
    appear_s: float = Field(
        60.0,
        ge=1,
        le=86400,
        description='the coordinator waits for all layer nodes, s',
        json_schema_extra=NO_EFFECT,
    )
    silence_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description='without a heartbeat after which a node counts as lost, s',
        json_schema_extra=NO_EFFECT,
    )


class MetricsConfig(Section):
    """What is written while the run goes on."""

    every_s: float = Field(
        1.0, ge=0.1, le=3600, description='between two rows of a layer in metrics.csv, s'
    )


class CheckpointConfig(Section):
    """
    When layers save their state: all behind the same item.

    Also when up to half of stream.replay_mb has gone over a hop, as what is not in checkpoints
    is kept in memory, and at the end of the run.
    """

    every_s: float = Field(10.0, gt=0, le=86400, description='between two checkpoints, s')
    every_items: int = Field(
        0, ge=0, le=10**9, description='also behind every so many items; 0: by time only'
    )
    replicate: bool = Field(
        False,
        description="store checkpoints with the coordinator too, so that a layer's device may be "
        'lost for good',
    )


class RestartConfig(Section):
    """What becomes of a node that dies: `dff train` and `dff lab` start it again."""

    max_per_minute: int = Field(
        10,
        ge=0,
        le=1000,
        description='restarts of one node within a minute after which the run ends; 0: none',
    )
    lease_s: float = Field(
        30.0,
        ge=2,
        le=86400,
        description='without a heartbeat of a layer after which a spare device takes it over, s',
    )
    backoff_s: float = Field(
        0.5,
        ge=0,
        le=3600,
        description='until the first restart, s; doubles with each restart within a minute',
    )


class ComputeConfig(Section):
    """What every node computes with."""

    threads: int = Field(
        1, ge=1, le=1024, description='PyTorch threads of a node; part of the arithmetic'
    )
    device: Literal['auto', 'cpu', 'cuda'] = Field(
        'auto', description='auto: cuda where there is one, else cpu'
    )
    precision: Literal['auto', 'float32', 'bfloat16'] = Field(
        'float32',
        description='of the matrix products and convolutions of layers of one stream; weights, '
        'losses and what travels keep theirs. auto: bfloat16 on processors that compute it '
        'themselves, else float32',
    )


class DeviceConfig(Section):
    """One device: which nodes it runs, and what it has."""

    nodes: list[str] = Field(
        ..., min_length=1, description='coordinator, layer_0, layer_1, ... that run here'
    )
    memory_mb: float | None = Field(
        None, gt=0, description='memory there; dff check compares what its nodes need'
    )


def _device_by_nodes(value: Any) -> Any:
    """Accept `pi1: [layer_0]` as short for `pi1: {nodes: [layer_0]}`."""
    return {'nodes': value} if isinstance(value, list) else value


AnyDevice = Annotated[DeviceConfig, BeforeValidator(_device_by_nodes)]


class LabConfig(Section):
    """The emulated devices of `dff lab`: what each has, and how they are connected."""

    devices: int | None = Field(
        None,
        ge=1,
        le=200,
        description='the layers are spread over so many devices, neighbours together; default one '
        'for each layer. The coordinator has a device of its own, desk, without limits. A '
        'placement takes their place',
    )
    cpu: float | None = Field(
        None, ge=0.01, le=1024, description='cores of a device; default all of this machine'
    )
    memory_mb: float | None = Field(
        None,
        ge=8,
        description='memory of a device, MB, none of it swapped; default that of its placement, '
        "else all of this machine's",
    )
    link_mbit: float | None = Field(
        None,
        ge=0.1,
        le=100000,
        description="rate of a device's link each way, Mbit/s; default as fast as it goes",
    )
    loss_percent: float = Field(
        0.0, ge=0, le=50, description='of the frames that a device receives, lost at random'
    )


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
        windows = [layer.epochs is not None for layer in self.network]
        if getattr(schedule, 'moments', 'travel') == 'stay' and any(windows):
            raise ValueError(
                f"schedule.moments must be 'travel' where network[{windows.index(True)}].epochs "
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
            if layer.epochs is not None and layer.epochs[0] >= self.training.epochs:
                raise ValueError(
                    f'network[{index}].epochs must begin before training.epochs '
                    f'({self.training.epochs}), got {list(layer.epochs)}'
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
