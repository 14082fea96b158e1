# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
What a run will need before it is started: items, bytes over each hop, memory of each node.

Of the schedule `stream`; for those with chapters see schedules/chapter_footprint.py.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from dff_nodes.data.facts import DataFacts, is_read_by_torchvision
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.layers import DenseLayer, GraphLayer
from dff_nodes.runs.resolve import DTYPE_BYTES, LayerShape, ResolvedRun
from dff_nodes.runs.segment import segment_mb
from dff_nodes.runs.traffic import COORDINATOR, NodeTraffic, collect

PROCESS_MB = 285.0
"""
resident memory of a node with PyTorch 2.13 (CPU) and rclpy in use, without the segment of shared
memory; measured on x86_64
"""
WORKING_COPIES = 5
"""of a batch where it is widest: before and behind normalisation and nonlinearity, gradients"""
GRAPH_COPIES = 12
"""of a graph where it is widest: before and behind neighbours, cosines, gradients; measured"""
INDEX_BYTES = 48
"""of an edge: a column for each way, and what its sorting holds"""
CONVOLUTION_MB, CONVOLUTION_COPIES, CONVOLUTION_STATES = 75.0, 4, 2.5
"""
of a layer of convolutions: code and kernels made for their shapes; copies of the widest maps, and
of twice those that come in and go out, which are converted, laid out anew and kept by the
allocator; and of the layer's state, beside that itself. Fitted to the peaks of 44 layers in 12
runs on x86_64, which are 0.78 to 1.16 times what is told with what may be kept for replay. A block
of four in bfloat16 took 0.65 times as much, one of five in float32 1.14.
"""
TORCHVISION_MB = 89.0
"""more of a process that has torchvision read its data set, measured on x86_64"""
SCORE_BYTES = 4


@dataclass(frozen=True)
class ItemCounts:
    """
    Samples and items of a whole run; every layer handles them all.

    A graph is one item, with all its nodes as samples.
    """

    train_items: int
    train_samples: int
    score_items: int
    score_samples: int
    evaluate_items: int
    evaluate_samples: int
    marks: int

    @property
    def items(self) -> int:
        """Items of all kinds."""
        return self.train_items + self.score_items + self.evaluate_items + self.marks


@dataclass(frozen=True)
class SampleBytes:
    """Payload of one sample on its way to a layer, by the kind of item it is in."""

    train: int
    score: int
    evaluate: int


@dataclass(frozen=True)
class LayerFootprint:
    """What one layer node will hold and take in."""

    shape: LayerShape
    sample_bytes: SampleBytes
    item_bytes: SampleBytes
    """payload of a full item of each kind; score is 0 where there are no SCORE items"""
    hop_bytes: int
    """payload that arrives from the node before, whole run"""
    goodness_bytes: int
    """payload of class scores sent to the coordinator, whole run"""
    window_bytes: int
    """items in flight to this layer and from it, at most"""
    replay_bytes: int
    """items kept for replay until the next layer has saved its state, at most"""


@dataclass(frozen=True)
class NodeMemory:
    """Memory of one node, MB."""

    node: str
    device: str | None
    """None: this machine"""
    process_mb: float
    """before anything is built, with its segment of shared memory, and what reads its data"""
    state_mb: float
    """parameters, gradient and moments; the dataset for the coordinator"""
    working_mb: float
    """what a training step holds at once; 0 for the coordinator"""
    window_mb: float
    replay_mb: float
    """may come on top between two checkpoints"""
    data_mb: float = 0.0
    """samples that it trains on or evaluates; with the schedule stream in state_mb"""
    cache_mb: float = 0.0
    """what arrives at a layer, kept for the next: schedule.cache_mb"""

    @property
    def needed_mb(self) -> float:
        """What the node holds in any case."""
        held = self.process_mb + self.state_mb + self.working_mb + self.window_mb
        return held + self.data_mb + self.cache_mb


@dataclass(frozen=True)
class DeviceMemory:
    """What the nodes of one device need, and what it has."""

    device: str
    nodes: list[NodeMemory]
    available_mb: float | None

    @property
    def needed_mb(self) -> float:
        """Sum over the nodes."""
        return sum(node.needed_mb for node in self.nodes)

    @property
    def replay_mb(self) -> float:
        """What may come on top between two checkpoints."""
        return sum(node.replay_mb for node in self.nodes)


@dataclass(frozen=True)
class Footprint:
    """What a whole run needs."""

    counts: ItemCounts
    items_per_epoch: int
    """of an epoch without evaluation, its MARK included"""
    layers: list[LayerFootprint]
    nodes: list[NodeMemory]
    devices: list[DeviceMemory]
    """in the order of the placement; empty without one"""
    traffic: list[NodeTraffic]
    """the coordinator, then the layers"""


def footprint(resolved: ResolvedRun) -> Footprint:
    """Work out what a run needs; pure arithmetic."""
    counts = count_items(resolved)
    layers = [_layer(resolved, index, counts) for index in range(len(resolved.layers))]
    nodes = [_coordinator_memory(resolved, layers), *(_memory(resolved, each) for each in layers)]
    streams = 2 if resolved.config.has_readout else 1
    per_epoch = streams * resolved.batches_per_epoch + 1
    devices = devices_of(resolved, nodes)
    return Footprint(counts, per_epoch, layers, nodes, devices, _traffic(layers))


def _traffic(layers: list[LayerFootprint]) -> list[NodeTraffic]:
    """Items go from node to node, scores to the coordinator."""
    nodes = [COORDINATOR, *(layer.shape.name for layer in layers)]
    hops = [
        (sender, layer.shape.name, layer.hop_bytes)
        for sender, layer in zip(nodes, layers, strict=False)
    ]
    scores = [(layer.shape.name, COORDINATOR, layer.goodness_bytes) for layer in layers]
    return collect(nodes, hops + scores)


def process_mb(resolved: ResolvedRun) -> float:
    """Give what a node of the run holds before its layer or its data is there."""
    return PROCESS_MB + segment_mb(resolved)


def reader_mb(resolved: ResolvedRun) -> float:
    """Give what a node holds beside that once it has read the data set."""
    return TORCHVISION_MB * is_read_by_torchvision(resolved.config.data.dataset)


def nodes_on(nodes: list[NodeMemory], device: str | None) -> list[NodeMemory]:
    """Nodes that run on a device; all for None."""
    return [node for node in nodes if device in (None, node.device)]


def count_items(resolved: ResolvedRun) -> ItemCounts:
    """Count what schedules.plan.TrainingPlan will give out."""
    epochs, facts = resolved.config.training.epochs, resolved.facts
    scored = int(resolved.config.has_readout)
    tests, at_end = _test_evaluations(resolved), _train_evaluation(resolved)
    chunk = resolved.evaluation_batch
    evaluate_items = tests * -(-facts.test_samples // chunk) + -(-at_end // chunk)
    return ItemCounts(
        train_items=resolved.train_steps,
        train_samples=epochs * (facts.nodes or facts.train_samples),
        score_items=scored * resolved.train_steps,
        score_samples=scored * epochs * facts.train_samples,
        evaluate_items=evaluate_items,
        evaluate_samples=evaluate_items * facts.nodes or tests * facts.test_samples + at_end,
        marks=epochs,
    )


def _test_evaluations(resolved: ResolvedRun) -> int:
    """Count how often the test set is evaluated: where it is due, and always at the end."""
    epochs, every = resolved.config.training.epochs, resolved.config.evaluation.every_epochs
    return -(-epochs // every) if every else 1


def _train_evaluation(resolved: ResolvedRun) -> int:
    return min(resolved.config.evaluation.train_samples, resolved.facts.train_samples)


def sample_bytes(resolved: ResolvedRun, layer: int) -> SampleBytes:
    """Give the payload of one sample as stream.codec writes it, by kind of item; no edges."""
    kinds = ('TRAIN', 'SCORE', 'EVALUATE')
    edges = resolved.edge_bytes
    return SampleBytes(*(resolved.hop_bytes(layer, kind, 1) - edges for kind in kinds))


def hop_bytes(sample: SampleBytes, counts: ItemCounts, edge_bytes: int) -> int:
    """Give the payload of all items of a run over one hop."""
    return (
        edge_bytes * (counts.train_items + counts.evaluate_items)
        + sample.train * counts.train_samples
        + sample.score * counts.score_samples
        + sample.evaluate * counts.evaluate_samples
    )


def _layer(resolved: ResolvedRun, index: int, counts: ItemCounts) -> LayerFootprint:
    config = resolved.config
    batch, chunk, edges = resolved.batch_size, resolved.evaluation_batch, resolved.edge_bytes
    sample = sample_bytes(resolved, index)
    scores = SCORE_BYTES * resolved.facts.classes
    last = index + 1 == len(resolved.layers)
    flying = resolved.item_bytes(index) + (0 if last else resolved.item_bytes(index + 1))
    sent = 0 if last else hop_bytes(sample_bytes(resolved, index + 1), counts, edges)
    return LayerFootprint(
        shape=resolved.layers[index],
        sample_bytes=sample,
        item_bytes=SampleBytes(
            batch * sample.train + edges,
            batch * sample.score * config.has_readout,
            chunk * sample.evaluate + edges,
        ),
        hop_bytes=hop_bytes(sample, counts, edges),
        goodness_bytes=scores * (counts.score_samples + counts.evaluate_samples),
        window_bytes=config.stream.window_items * flying,
        replay_bytes=_replay_bytes(resolved, sent),
    )


def _replay_bytes(resolved: ResolvedRun, sent: int) -> int:
    return min(resolved.replay_bytes, sent)


def _memory(resolved: ResolvedRun, layer: LayerFootprint) -> NodeMemory:
    return NodeMemory(
        node=layer.shape.name,
        device=device_of(resolved, layer.shape.name),
        process_mb=process_mb(resolved),
        state_mb=layer.shape.state_bytes / 1e6,
        working_mb=step_mb(resolved, layer.shape),
        window_mb=layer.window_bytes / 1e6,
        replay_mb=layer.replay_bytes / 1e6,
    )


def _coordinator_memory(resolved: ResolvedRun, layers: list[LayerFootprint]) -> NodeMemory:
    facts, stream = resolved.facts, resolved.config.stream
    return NodeMemory(
        node=COORDINATOR,
        device=device_of(resolved, COORDINATOR),
        process_mb=process_mb(resolved) + reader_mb(resolved),
        state_mb=(data_bytes(facts, facts.train_samples) + 2 * resolved.edge_bytes) / 1e6,
        working_mb=0.0,
        window_mb=stream.window_items * resolved.item_bytes(0) / 1e6,
        replay_mb=_replay_bytes(resolved, layers[0].hop_bytes) / 1e6,
    )


def data_bytes(facts: DataFacts, train_samples: int) -> int:
    """Memory of some training samples and the whole test set, or of all nodes of a graph."""
    samples = facts.nodes or train_samples + facts.test_samples
    return samples * facts.features * DTYPE_BYTES[facts.dtype]


def step_mb(resolved: ResolvedRun, shape: LayerShape) -> float:
    """Estimate what a training step of a layer holds beside its state."""
    batch = resolved.buffer_bytes(shape) / 1e6
    if isinstance(shape.config, GraphLayer):
        return GRAPH_COPIES * batch + INDEX_BYTES * resolved.facts.edges / 1e6
    if isinstance(shape.config, DenseLayer):
        return WORKING_COPIES * batch
    ends = batch * (math.prod(shape.input_shape) + math.prod(shape.output_shape)) / shape.widest
    state = CONVOLUTION_STATES * shape.state_bytes / 1e6
    return CONVOLUTION_MB + CONVOLUTION_COPIES * (batch + 2 * ends) + state


def device_of(resolved: ResolvedRun, node: str) -> str | None:
    """Name the device that runs a node, None for this machine."""
    placement = resolved.config.devices
    return next((name for name, device in placement.items() if node in device.nodes), None)


def devices_of(resolved: ResolvedRun, nodes: list[NodeMemory]) -> list[DeviceMemory]:
    """Put together what the nodes of each device need."""
    placement = resolved.config.devices
    return [
        DeviceMemory(name, [node for node in nodes if node.device == name], device.memory_mb)
        for name, device in placement.items()
    ]


def check_memory(devices: list[DeviceMemory]) -> None:
    """Raise ConfigError naming every device whose nodes need more memory than it has."""
    small = [each for each in devices if each.available_mb and each.needed_mb > each.available_mb]
    if small:
        raise ConfigError('\n'.join(_too_small(each) for each in small))


def _too_small(device: DeviceMemory) -> str:
    nodes = ', '.join(f'{node.node} ({node.needed_mb:.0f} MB)' for node in device.nodes)
    return (
        f'placement.{device.device} needs {device.needed_mb:.0f} MB for {nodes}, but its '
        f'memory_mb is {device.available_mb:.0f}: move a node to another device, or make '
        'network.N.units, training.batch_size, stream.window_items or schedule.cache_mb smaller'
    )


def memory_warnings(devices: list[DeviceMemory]) -> list[str]:
    """Name the devices that may run out of memory between two checkpoints."""
    return [
        f'placement.{each.device} may need up to {each.replay_mb:.0f} MB more for items kept for '
        f'replay, {each.needed_mb + each.replay_mb:.0f} MB in all, and has '
        f'{each.available_mb:.0f} MB: a smaller stream.replay_mb bounds it'
        for each in devices
        if each.available_mb
        and each.needed_mb <= each.available_mb < each.needed_mb + each.replay_mb
    ]


def memory_here_mb() -> float:
    """Memory of this machine, MB."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e6
