# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run will need, against the plan and the codec that decide what it does need."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from dff_nodes.data.facts import read_facts
from dff_nodes.learning.batch import Batch
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import (
    PROCESS_MB,
    TORCHVISION_MB,
    WORKING_COPIES,
    DeviceMemory,
    NodeMemory,
    check_memory,
    count_items,
    footprint,
    memory_here_mb,
    memory_warnings,
    nodes_on,
    sample_bytes,
)
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.segment import segment_mb
from dff_nodes.schedules.plan import PlannedItem, TrainingPlan
from dff_nodes.stream.codec import encode
from dff_nodes.stream.item import Item, Kind

REPOSITORY = Path(__file__).parents[2]
VARIANTS = [
    [],
    ['training.negatives.mode=adaptive'],
    ['classification.mode=one_pass', 'training.epochs=7', 'evaluation.every_epochs=3'],
    ['evaluation.every_epochs=0', 'evaluation.train_samples=0', 'training.epochs=2'],
    ['evaluation.every_epochs=2', 'training.epochs=4', 'training.batch_size=100'],
    ['stream.dtype=float16', 'network=[{units: 30}]', 'evaluation.train_samples=5000'],
    ['data.label.position=prepend', 'network=[{units: 30}, {units: 2}, {units: 17}]'],
]


def resolved_run(*overrides: str) -> ResolvedRun:
    config = load_config(None, ['training.epochs=5', *overrides])
    return resolve(config, read_facts(config.data))


def samples_of(resolved: ResolvedRun, plan: TrainingPlan, planned: PlannedItem) -> int:
    """Samples of a planned item; the last of an epoch or of an evaluation has fewer."""
    if planned.kind == Kind.EVALUATE:
        size, all_of_them = resolved.evaluation_batch, plan.evaluated_samples(planned.split)
    else:
        size, all_of_them = resolved.config.training.batch_size, resolved.facts.train_samples
    return min(size, all_of_them - planned.index * size)


def batch(resolved: ResolvedRun, layer: int, kind: Kind, samples: int) -> Batch:
    """What travels to a layer, as ItemDecoder requires it."""
    labels = torch.zeros(samples, dtype=torch.int64)
    if layer == 0:
        rows = torch.zeros(samples, *resolved.facts.input_shape, dtype=torch.uint8)
        return Batch(
            rows,
            labels=None if kind == Kind.EVALUATE else labels,
            negative_labels=labels if kind == Kind.TRAIN else None,
        )
    dtype = getattr(torch, resolved.config.stream.dtype)
    rows = torch.zeros(samples, resolved.layers[layer - 1].units, dtype=dtype)
    if kind == Kind.TRAIN:
        return Batch(rows, rows)
    if kind == Kind.SCORE:
        return Batch(rows, labels=labels)
    many = rows.repeat(resolved.candidates, 1)
    return Batch(many, candidates=resolved.candidates)


@pytest.mark.parametrize('overrides', VARIANTS)
def test_items_are_those_of_the_plan(overrides: list[str]) -> None:
    resolved = resolved_run(*overrides)
    plan = TrainingPlan(resolved)
    kinds: Counter[Kind] = Counter()
    samples: Counter[Kind] = Counter()
    for planned in plan.from_item(0):
        kinds[planned.kind] += 1
        if planned.kind != Kind.MARK:
            samples[planned.kind] += samples_of(resolved, plan, planned)
    counts = count_items(resolved)
    assert counts.items == plan.items
    assert counts.train_items == kinds[Kind.TRAIN]
    assert counts.score_items == kinds[Kind.SCORE]
    assert counts.evaluate_items == kinds[Kind.EVALUATE]
    assert counts.marks == kinds[Kind.MARK]
    assert counts.train_samples == samples[Kind.TRAIN]
    assert counts.score_samples == samples[Kind.SCORE]
    assert counts.evaluate_samples == samples[Kind.EVALUATE]


@pytest.mark.parametrize('overrides', VARIANTS)
def test_bytes_of_a_sample_are_those_of_the_codec(overrides: list[str]) -> None:
    resolved = resolved_run(*overrides)
    for layer in range(len(resolved.layers)):
        found = sample_bytes(resolved, layer)
        for kind, bytes_each in (
            (Kind.TRAIN, found.train),
            (Kind.SCORE, found.score),
            (Kind.EVALUATE, found.evaluate),
        ):
            wire = encode(Item(0, kind, 0, batch(resolved, layer, kind, samples=5)))
            assert wire.payload_bytes == 5 * bytes_each, (layer, kind)


def test_bytes_of_a_hop_are_those_of_all_its_items() -> None:
    resolved = resolved_run('training.negatives.mode=adaptive', 'training.epochs=2')
    plan = TrainingPlan(resolved)
    total = [0] * len(resolved.layers)
    scores = 0
    for planned in plan.from_item(0):
        if planned.kind == Kind.MARK:
            continue
        samples = samples_of(resolved, plan, planned)
        for layer in range(len(total)):
            item = Item(0, planned.kind, 0, batch(resolved, layer, planned.kind, samples))
            total[layer] += encode(item).payload_bytes
        scores += 0 if planned.kind == Kind.TRAIN else samples * resolved.facts.classes * 4
    layers = footprint(resolved).layers
    assert [layer.hop_bytes for layer in layers] == total
    assert {layer.goodness_bytes for layer in layers} == {scores}


def test_a_full_item_is_never_larger_than_the_window_allows_for() -> None:
    for overrides in VARIANTS:
        resolved = resolved_run(*overrides)
        for index, layer in enumerate(footprint(resolved).layers):
            largest = max(layer.item_bytes.train, layer.item_bytes.evaluate)
            assert largest <= resolved.item_bytes(index)


def test_memory_of_a_layer_is_its_state_its_windows_and_the_process() -> None:
    resolved = resolved_run('network=[{units: 300}, {units: 200}]')
    _, first, last = footprint(resolved).nodes
    assert first.state_mb == 4 * 4 * (64 * 300 + 300) / 1e6
    window = resolved.config.stream.window_items
    assert first.window_mb == window * (resolved.item_bytes(0) + resolved.item_bytes(1)) / 1e6
    assert last.window_mb == window * resolved.item_bytes(1) / 1e6
    assert first.working_mb == pytest.approx(WORKING_COPIES * 4 * 2 * 64 * 300 / 1e6)
    assert first.process_mb == PROCESS_MB + segment_mb(resolved)
    held = first.process_mb + first.state_mb + first.working_mb + first.window_mb
    assert first.needed_mb == held
    assert last.replay_mb == 0, 'the last layer passes nothing on'


def test_a_coordinator_holds_torchvision_where_that_reads_the_data() -> None:
    coordinator, layer = footprint(resolved_run('data.dataset=mnist')).nodes[:2]
    assert coordinator.process_mb == layer.process_mb + TORCHVISION_MB
    coordinator, layer = footprint(resolved_run('data.dataset=digits')).nodes[:2]
    assert coordinator.process_mb == layer.process_mb


def measured_peaks(name: str) -> list[dict[str, float]]:
    """Give the nodes' peaks in MB, one mapping a seed, where layers had processes of their own."""
    path = REPOSITORY / 'bench' / 'results' / f'{name}.json'
    if not path.is_file():
        return []
    runs = json.loads(path.read_text(encoding='utf-8'))['seeds'].values()
    peaks = [run['peak_rss_mb'] for run in runs]
    return [each for each in peaks if len(set(each.values())) > 1]


def of_convolutions() -> list[str]:
    """Give the shipped configurations with convolutions whose peaks were measured."""
    found = sorted((REPOSITORY / 'config').glob('*.yaml'))
    return [
        path.stem
        for path in found
        if 'type: conv' in path.read_text(encoding='utf-8') and measured_peaks(path.stem)
    ]


@pytest.mark.parametrize('name', of_convolutions())
def test_memory_of_convolutions_is_near_the_peaks_that_benches_measured(name: str) -> None:
    config = load_config(REPOSITORY / 'config' / f'{name}.yaml')
    nodes = footprint(resolve(config, read_facts(config.data))).nodes
    for peaks in measured_peaks(name):
        for node in nodes[1:]:
            told = node.needed_mb + node.replay_mb
            # The least is a block whose maps are bfloat16; what is told holds for float32 too.
            assert 0.6 < peaks[node.node] / told < 1.25, node.node


def test_replay_is_bounded_by_the_setting_and_by_what_there_is_to_send() -> None:
    small = footprint(resolved_run('stream.replay_mb=1.5'))
    assert small.nodes[1].replay_mb == 1.5
    large = footprint(resolved_run('stream.replay_mb=100000'))
    assert large.nodes[1].replay_mb == large.layers[1].hop_bytes / 1e6


PLACEMENT = (
    'placement={pi1: {nodes: [coordinator, layer_0], memory_mb: %s}, pi2: [layer_1, layer_2]}'
)


def test_a_device_needs_what_its_nodes_need() -> None:
    needs = footprint(resolved_run(PLACEMENT % 900))
    assert [device.device for device in needs.devices] == ['pi1', 'pi2']
    pi1, pi2 = needs.devices
    assert [node.node for node in pi1.nodes] == ['coordinator', 'layer_0']
    assert pi1.needed_mb == sum(node.needed_mb for node in needs.nodes[:2])
    assert pi2.available_mb is None
    assert nodes_on(needs.nodes, 'pi2') == pi2.nodes
    assert nodes_on(needs.nodes, None) == needs.nodes
    check_memory(needs.devices)


def test_a_device_that_is_too_small_is_named_with_its_nodes() -> None:
    needs = footprint(resolved_run(PLACEMENT % 400))
    with pytest.raises(ConfigError) as caught:
        check_memory(needs.devices)
    text = str(caught.value)
    for word in (
        'placement.pi1',
        'coordinator (',
        'layer_0 (',
        'memory_mb is 400',
        f'{needs.devices[0].needed_mb:.0f} MB',
    ):
        assert word in text, text
    assert 'pi2' not in text


def test_replay_that_may_not_fit_is_a_warning() -> None:
    node = NodeMemory('layer_0', 'pi1', 250.0, 4.0, 6.0, 5.0, 256.0)
    assert memory_warnings([DeviceMemory('pi1', [node], 600.0)]) == []
    assert memory_warnings([DeviceMemory('pi1', [node], None)]) == []
    (text,) = memory_warnings([DeviceMemory('pi1', [node], 400.0)])
    assert 'pi1' in text
    assert '521 MB in all' in text
    assert 'stream.replay_mb' in text


def test_this_machine_has_memory() -> None:
    assert 100 < memory_here_mb() < 1e9


@pytest.mark.parametrize('window', [1, 4, 16])
@pytest.mark.parametrize('units', [32, 500, 20000])
def test_two_checkpoints_and_what_is_under_way_fit_into_the_usual_room(
    units: int, window: int
) -> None:
    """Else the senders wait for checkpoints, while the layers wait for items."""
    network = f'network=[{{units: {units}}}, {{units: {units}}}]'
    resolved = resolved_run(network, f'stream.window_items={window}', 'training.batch_size=256')
    under_way = 2 * window * resolved.largest_item_bytes
    between = resolved.save_after_bytes
    assert between > 0
    assert 2 * between + under_way <= resolved.replay_bytes
