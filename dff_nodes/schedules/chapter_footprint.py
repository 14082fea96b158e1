# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run with chapters will need before it is started: parts, bytes, memory of each node."""

from __future__ import annotations

from dataclasses import dataclass

from dff_nodes.runs.config import worker_names
from dff_nodes.runs.footprint import (
    DeviceMemory,
    NodeMemory,
    data_bytes,
    device_of,
    devices_of,
    process_mb,
    reader_mb,
    step_mb,
)
from dff_nodes.runs.resolve import DTYPE_BYTES, LayerShape, ResolvedRun
from dff_nodes.runs.traffic import COORDINATOR, NodeTraffic
from dff_nodes.schedules.chapter_traffic import chapter_traffic
from dff_nodes.schedules.chapters import BLOCK_SAMPLES, ChapterPlan, Need, Part, part_bytes

BLOCK_COPIES = 4
"""of a block where it is widest: as it arrives, before and behind the nonlinearity, as it goes"""
SAVED_PARTS = 2
"""copies of a part: while it is written, and of the one before until that is durable"""
SENT_PARTS = 4
"""packed parts that a server keeps, with the one that it sends"""
ARRIVING_PARTS = 3
"""copies of a part that arrives: its chunks, the whole, and its tensors"""


@dataclass(frozen=True)
class ChapterFootprint:
    """What a whole run needs."""

    shapes: list[LayerShape]
    chapters: int
    epochs_each: int
    parts: int
    """layers times chapters, and adaptive negatives"""
    part_bytes: list[int]
    """of each layer as it travels to who goes on training it"""
    learned_bytes: list[int]
    """of each layer as it travels to who only lets samples pass"""
    nodes: list[NodeMemory]
    devices: list[DeviceMemory]
    """in the order of the placement; empty without one"""
    traffic: list[NodeTraffic]
    """the coordinator, then the workers"""


def chapter_footprint(resolved: ResolvedRun) -> ChapterFootprint:
    """Work out what a run needs; pure arithmetic."""
    plan = ChapterPlan(resolved)
    workers = [_worker(plan, worker) for worker in range(plan.workers)]
    nodes = [_coordinator(plan), *workers]
    return ChapterFootprint(
        shapes=resolved.layers,
        chapters=plan.chapters,
        epochs_each=plan.epochs_each,
        parts=sum(1 for _ in plan.parts()),
        part_bytes=[_bytes(plan, layer, whole=True) for layer in range(plan.layers)],
        learned_bytes=[_bytes(plan, layer, whole=False) for layer in range(plan.layers)],
        nodes=nodes,
        devices=devices_of(resolved, nodes),
        traffic=chapter_traffic(plan),
    )


def _bytes(plan: ChapterPlan, layer: int, *, whole: bool) -> int:
    return part_bytes(plan, Need(Part(0, layer), whole))


def _worker(plan: ChapterPlan, worker: int) -> NodeMemory:
    resolved, name = plan.resolved, worker_names(plan.resolved.config)[worker]
    trained = _trained(plan, worker)
    used = range(trained[-1] + 1)
    reads = not plan.exists(plan.training_set)
    return NodeMemory(
        node=name,
        device=device_of(resolved, name),
        process_mb=process_mb(resolved) + reads * reader_mb(resolved),
        state_mb=_state_bytes(resolved, trained, used) / 1e6,
        working_mb=max(step_mb(resolved, resolved.layers[each]) for each in trained)
        + _block_bytes(plan, used) / 1e6,
        window_mb=_held_part_bytes(plan, worker, trained) / 1e6,
        replay_mb=0.0,
        data_mb=_worker_data_bytes(plan, worker) / 1e6,
        cache_mb=_cached_bytes(plan, trained) / 1e6,
    )


def _trained(plan: ChapterPlan, worker: int) -> range:
    """Layers that a worker trains."""
    if plan.schedule.name == 'single_layer':
        return range(worker, worker + 1)
    return range(plan.layers)


def _state_bytes(resolved: ResolvedRun, trained: range, used: range) -> int:
    """Objects of all layers that it works with, and the gradient of the one that it trains."""
    # A layer that only lets samples pass has its moments too: they come with the object.
    objects = sum(
        resolved.layers[each].state_bytes - 4 * resolved.layers[each].parameters for each in used
    )
    return objects + 4 * max(resolved.layers[each].parameters for each in trained)


def _block_bytes(plan: ChapterPlan, used: range) -> int:
    """What is at hand while a block passes the layers before the last."""
    passed = [plan.resolved.layers[each] for each in used[:-1]]
    widest = max((max(shape.inputs, shape.widest) for shape in passed), default=0)
    config = plan.resolved.config
    batches = max(1, BLOCK_SAMPLES // config.training.batch_size)
    rows = config.streams * batches * config.training.batch_size
    return BLOCK_COPIES * 4 * rows * widest


def _held_part_bytes(plan: ChapterPlan, worker: int, trained: range) -> int:
    """Parts that are being written, sent and received."""
    own = max(_bytes(plan, each, whole=True) for each in trained)
    if plan.workers == 1:
        return SAVED_PARTS * own
    learned = max(_bytes(plan, each, whole=False) for each in trained)
    ring = plan.schedule.name != 'single_layer'
    travels = own if ring and not plan.moments_stay else learned
    received = travels if ring else sum(_bytes(plan, each, whole=False) for each in range(worker))
    return SAVED_PARTS * own + SENT_PARTS * travels + ARRIVING_PARTS * received


def _worker_data_bytes(plan: ChapterPlan, worker: int) -> int:
    """Memory of what a worker reads; its share comes beside the whole set it is taken from."""
    facts = plan.resolved.facts
    whole = data_bytes(facts, facts.train_samples)
    if plan.schedule.name != 'federated':
        return whole
    share = plan.resolved.shard_samples(worker)
    return whole + share * facts.features * DTYPE_BYTES[facts.dtype]


def _cached_bytes(plan: ChapterPlan, trained: range) -> int:
    """Give the largest of what is kept of all that arrives at a layer in a chapter."""
    kept = [layer for layer in trained if plan.keeps_arrivals(layer)]
    return max((plan.arriving_bytes(layer) for layer in kept), default=0)


def _coordinator(plan: ChapterPlan) -> NodeMemory:
    resolved = plan.resolved
    largest = max(_bytes(plan, each, whole=True) for each in range(plan.layers))
    facts = resolved.facts
    return NodeMemory(
        node=COORDINATOR,
        device=device_of(resolved, COORDINATOR),
        process_mb=process_mb(resolved) + reader_mb(resolved),
        state_mb=max(shape.state_bytes for shape in resolved.layers) / 1e6,
        working_mb=_evaluated_bytes(plan) / 1e6,
        window_mb=ARRIVING_PARTS * largest / 1e6,
        replay_mb=0.0,
        data_mb=data_bytes(facts, facts.train_samples) / 1e6,
    )


def _evaluated_bytes(plan: ChapterPlan) -> int:
    """Evaluated samples in front of and behind a layer: all of them pass it before the next."""
    resolved = plan.resolved
    rows = resolved.facts.test_samples + plan.evaluated_samples('train')
    rows *= resolved.candidates
    behind = [rows * resolved.row_bytes(layer) for layer in range(1, plan.layers)]
    last = rows * _passed_bytes(resolved)
    sizes = [0, *behind, last]
    return max(before + after for before, after in zip(sizes, sizes[1:], strict=False))


def _passed_bytes(resolved: ResolvedRun) -> int:
    """One row behind the last layer."""
    numbers = 1
    for size in resolved.layers[-1].passed_shape:
        numbers *= size
    return numbers * DTYPE_BYTES[resolved.config.stream.dtype]
