# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is foretold to travel, against what workers ask for and pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.compute import prepare_torch
from dff_nodes.runs.checkpoint import CheckpointInfo, pack
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapter_data import worker_dataset
from dff_nodes.schedules.chapter_traffic import chapter_traffic
from dff_nodes.schedules.chapter_worker import ChapterWorker
from dff_nodes.schedules.chapters import ChapterPlan, Need, part_bytes

PAIR = [{'units': 30}, {'units': 20}, {'units': 30}]
ADAPTIVE = {'epochs': 6, 'batch_size': 8, 'negatives': {'mode': 'adaptive', 'lag_chapters': 3}}
VARIANTS: dict[str, dict[str, Any]] = {
    'sequential': {'schedule': 'sequential'},
    'single layer': {'schedule': 'single_layer'},
    'single layer, adaptive': {'schedule': 'single_layer', 'training': ADAPTIVE},
    'all layers': {'schedule': {'name': 'all_layers', 'splits': 3}},
    'all layers, two workers': {'schedule': {'name': 'all_layers', 'workers': 2}},
    'all layers, adaptive': {'schedule': 'all_layers', 'training': ADAPTIVE},
    'all layers, moments stay': {'schedule': {'name': 'all_layers', 'moments': 'stay'}},
    'federated': {'schedule': {'name': 'federated', 'own_share': 0.5}},
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_bytes_are_those_that_workers_ask_for(
    variant: str, made_run: Callable[..., ResolvedRun], made_data: Callable[[DataFacts], Dataset]
) -> None:
    """Each worker an object of its own; what another one made is packed as it travels."""
    settings = {'training': {'epochs': 6, 'batch_size': 8}, 'network': PAIR} | VARIANTS[variant]
    resolved = made_run(train_samples=24, **settings)
    plan = ChapterPlan(resolved)
    received = asked_for(resolved, made_data)
    found = {each.node: each.received for each in chapter_traffic(plan)}
    for worker in range(plan.workers):
        assert found[f'worker_{worker}'] == received[worker]
    assert sum(found.values()) == sum(each.sent for each in chapter_traffic(plan))


def asked_for(resolved: ResolvedRun, made_data: Callable[[DataFacts], Dataset]) -> list[int]:
    """Train, and count the payload that each worker asks others for."""
    prepare_torch(1, torch.device('cpu'))
    plan, whole = ChapterPlan(resolved), made_data(resolved.facts)
    workers = [
        ChapterWorker(resolved, worker_dataset(resolved, whole, each), torch.device('cpu'))
        for each in range(plan.workers)
    ]
    made: dict[Any, dict[str, torch.Tensor]] = {}
    received = [0] * plan.workers
    for part in plan.parts():
        own = plan.maker(part)
        for need in workers[own].missing(part):
            tensors = made[need.part]
            if plan.is_layer(need.part) and not need.whole:
                names = workers[own].learned_names(need.part.layer)
                tensors = {name: tensors[name] for name in names}
            if plan.maker(need.part) != own:
                assert_travels_as_told(plan, need, tensors)
                received[own] += part_bytes(plan, need)
            workers[own].load(part, need, tensors)
        made[part] = workers[own].make(part, lambda step: None)
    if plan.schedule.name == 'federated':
        for own in range(plan.workers):
            others = [part for part in plan.final if plan.maker(part) != own]
            received[own] += sum(part_bytes(plan, Need(part, whole=False)) for part in others)
    return received


def assert_travels_as_told(
    plan: ChapterPlan, need: Need, tensors: dict[str, torch.Tensor]
) -> None:
    """Beside the payload there are names and shapes, and a few numbers of the optimizer."""
    packed = len(pack(CheckpointInfo('0' * 32, '0' * 64, 0, 0, 0), tensors))
    assert 0 < packed - part_bytes(plan, need) < 2000


def test_the_coordinator_gets_what_it_evaluates_and_the_network_at_the_end(
    made_run: Callable[..., ResolvedRun],
) -> None:
    network, training = [{'units': 30}, {'units': 20}], {'epochs': 6, 'batch_size': 8}
    evaluation = {'every_epochs': 2}
    resolved = made_run(
        schedule='all_layers', network=network, training=training, evaluation=evaluation
    )
    coordinator = chapter_traffic(ChapterPlan(resolved))[0]
    parameters = (12 * 30 + 30) + (30 * 20 + 20)
    assert coordinator.received == 4 * parameters * (3 + 3), 'evaluated 3 times, then with moments'
    assert coordinator.sent == 0
