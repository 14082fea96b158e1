# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Memory that a run with chapters will need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.compute import prepare_torch
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import PROCESS_MB, check_memory
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapter_footprint import chapter_footprint
from dff_nodes.schedules.chapter_worker import ChapterWorker
from dff_nodes.schedules.chapters import ChapterPlan

NETWORK = [{'units': 40}, {'units': 30}, {'units': 20}]
PARAMETERS = [12 * 40 + 40, 40 * 30 + 30, 30 * 20 + 20]
TRAINING = {'epochs': 4, 'batch_size': 8}


def run_with(
    made_run: Callable[..., ResolvedRun], schedule: object, **settings: object
) -> ResolvedRun:
    values = {'network': NETWORK, 'training': TRAINING} | settings
    return made_run(train_samples=64, schedule=schedule, **values)


def test_a_worker_holds_the_layers_that_it_works_with(
    made_run: Callable[..., ResolvedRun],
) -> None:
    nodes = chapter_footprint(run_with(made_run, 'single_layer')).nodes
    assert [node.node for node in nodes] == ['coordinator', 'worker_0', 'worker_1', 'worker_2']
    for worker, node in enumerate(nodes[1:]):
        objects = 3 * sum(PARAMETERS[: worker + 1])
        assert node.state_mb == 4 * (objects + PARAMETERS[worker]) / 1e6, 'one gradient'
        assert node.cache_mb == 0
    nodes = chapter_footprint(run_with(made_run, 'all_layers')).nodes
    states = {node.state_mb for node in nodes[1:]}
    assert states == {4 * (3 * sum(PARAMETERS) + max(PARAMETERS)) / 1e6}


def test_a_worker_holds_the_data_set_or_its_share_beside_it(
    made_run: Callable[..., ResolvedRun],
) -> None:
    image, samples = 12, 64 + 7
    whole = chapter_footprint(run_with(made_run, 'all_layers')).nodes
    assert {node.data_mb for node in whole} == {samples * image / 1e6}
    shares = chapter_footprint(run_with(made_run, 'federated')).nodes[1:]
    sizes = [22, 21, 21]
    assert [node.data_mb for node in shares] == [(samples + each) * image / 1e6 for each in sizes]


@pytest.mark.parametrize('arrivals', ['each_epoch', 'each_chapter'])
@pytest.mark.parametrize('cache_mb', [0.0, 0.001, 0.018, 1.0])
@pytest.mark.parametrize('schedule', ['sequential', 'all_layers', 'single_layer'])
def test_the_cache_is_what_a_worker_keeps_at_most(
    arrivals: str,
    cache_mb: float,
    schedule: str,
    made_run: Callable[..., ResolvedRun],
    made_data: Callable[[DataFacts], Dataset],
) -> None:
    prepare_torch(1, torch.device('cpu'))
    choice = {'name': schedule, 'cache_mb': cache_mb, 'arrivals': arrivals, 'splits': 2}
    resolved = run_with(made_run, choice)
    plan = ChapterPlan(resolved)
    maker = plan.workers - 1
    worker = ChapterWorker(resolved, made_data(resolved.facts), torch.device('cpu'))
    most = 0
    for part in plan.parts():
        if part.chapter == 0:
            worker.make(part, lambda step: None)
            if schedule != 'single_layer' or plan.maker(part) == maker:
                most = max(most, sum(block.bytes for block in worker._kept.values()))
    assert chapter_footprint(resolved).nodes[-1].cache_mb == most / 1e6


def test_parts_are_counted_and_sized(made_run: Callable[..., ResolvedRun]) -> None:
    needs = chapter_footprint(run_with(made_run, {'name': 'all_layers', 'splits': 2}))
    assert (needs.chapters, needs.epochs_each, needs.parts) == (2, 2, 6)
    assert needs.learned_bytes == [4 * count for count in PARAMETERS]
    assert needs.part_bytes == [12 * count for count in PARAMETERS]


def test_a_device_that_is_too_small_for_its_workers_is_named(
    made_run: Callable[..., ResolvedRun],
) -> None:
    placement = {
        'desk': ['coordinator'],
        'pi1': {'nodes': ['worker_0', 'worker_2'], 'memory_mb': 400},
        'pi2': {'nodes': ['worker_1'], 'memory_mb': 400},
    }
    needs = chapter_footprint(run_with(made_run, 'single_layer', placement=placement))
    assert needs.devices[1].needed_mb > 2 * PROCESS_MB
    with pytest.raises(
        ConfigError, match=r'placement\.pi1 needs .* worker_0 .* worker_2'
    ) as found:
        check_memory(needs.devices)
    assert 'pi2' not in str(found.value)
