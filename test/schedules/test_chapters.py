# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The graph of parts, and the schedules with chapters in one process."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import read_facts
from dff_nodes.runs.checkpoint import CheckpointError
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.run_folder import RunFolder, create_run
from dff_nodes.schedules.chapter_reference import ChapterReference, run_chapters
from dff_nodes.schedules.chapter_worker import ChapterWorker
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part
from dff_nodes.schedules.task import make_task

PAIR = {'units': 12}
HEAD = {'units': 12, 'rule': 'softmax_head'}


def resolved_run(**settings: Any) -> ResolvedRun:
    tree = {
        'data': {'validation_samples': 1237},
        'network': [PAIR, PAIR],
        'training': {'epochs': 3, 'batch_size': 50},
        'evaluation': {'train_samples': 50},
        'schedule': 'sequential',
    } | settings
    config = Config.model_validate(tree)
    return resolve(config, read_facts(config.data))


def trained(folder: Path, name: str, **settings: Any) -> dict[str, Any]:
    run = create_run(folder, name, resolved_run(**settings))
    return run_chapters(run, lambda event: None, time.monotonic())


SCHEDULES = [
    {'name': name, **more}
    for name, more in (
        ('sequential', {}),
        ('single_layer', {}),
        ('all_layers', {'workers': 2}),
        ('all_layers', {'workers': 3, 'moments': 'stay'}),
        ('federated', {'workers': 3}),
        ('federated', {'workers': 2, 'own_share': 0.5}),
    )
]


@pytest.mark.parametrize('schedule', SCHEDULES)
@pytest.mark.parametrize('mode', ['random', 'adaptive'])
def test_every_part_is_made_once_behind_what_it_needs(schedule: dict, mode: str) -> None:
    lag = 6 if schedule['name'] == 'federated' else 2
    plan = ChapterPlan(
        resolved_run(
            schedule=schedule,
            training={
                'epochs': 12,
                'batch_size': 50,
                'negatives': {'mode': mode, 'lag_chapters': lag},
            },
        )
    )
    parts = list(plan.parts())
    assert len(set(parts)) == len(parts)
    assert sum(plan.is_layer(part) for part in parts) == 12 * 2
    seen: set[Part] = set()
    for part in parts:
        assert {need.part for need in plan.needs(part)} <= seen
        seen.add(part)
    of_workers = [plan.parts_of(worker) for worker in range(plan.workers)]
    assert sorted(itertools.chain(*of_workers)) == sorted(parts)


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_nothing_is_forgotten_that_is_needed(schedule: dict) -> None:
    plan = ChapterPlan(resolved_run(schedule=schedule, training={'epochs': 6, 'batch_size': 50}))
    made: set[Part] = set()
    done = dict.fromkeys(range(plan.workers), 0)
    for part in plan.parts():
        for need in plan.needs(part):
            assert plan.is_needed(need.part, done, 0)
        made.add(part)
        done[plan.maker(part)] += 1
    left = {part for part in made if plan.is_needed(part, done, plan.chapters)}
    last = {worker: plan.parts_of(worker)[-1] for worker in done if plan.parts_of(worker)}
    remade = {need.part for part in last.values() for need in plan.needs(part)}
    assert left == set(plan.final) | remade


def test_the_pipeline_of_four_takes_the_published_number_of_slots() -> None:
    """103 slots instead of 400 for 100 chapters of 4 layers on 4 workers (2404.08573)."""
    training = {'epochs': 100, 'batch_size': 50}
    for schedule in ('single_layer', 'all_layers'):
        plan = ChapterPlan(resolved_run(network=[PAIR] * 4, schedule=schedule, training=training))
        ready: dict[Part, int] = {}
        free = dict.fromkeys(range(4), 0)
        for part in plan.parts():
            worker = plan.maker(part)
            begin = max([free[worker], *(ready[need.part] for need in plan.needs(part))])
            ready[part] = free[worker] = begin + 1
        assert max(ready.values()) == 103


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'training': {'epochs': 4, 'batch_size': 50, 'negatives': {'mode': 'fixed'}}},
        {
            'training': {
                'epochs': 4,
                'batch_size': 50,
                'negatives': {'mode': 'adaptive', 'lag_chapters': 1},
            }
        },
        {'network': [HEAD, HEAD], 'data': {'validation_samples': 1237, 'shift_pixels': 1}},
        {'classification': {'mode': 'one_pass'}, 'stream': {'dtype': 'float16'}},
    ],
)
def test_schedules_differ_only_in_who_works(tmp_path: Path, settings: dict) -> None:
    names = ('sequential', 'single_layer', 'all_layers')
    results = [trained(tmp_path, name, schedule=name, **settings) for name in names]
    assert results[0]['weights_sha256'] == results[1]['weights_sha256']
    assert results[0]['weights_sha256'] == results[2]['weights_sha256']
    assert results[0]['history'] == results[2]['history']


def test_a_cache_changes_no_bit(tmp_path: Path) -> None:
    network = [PAIR] * 3
    with_cache = trained(tmp_path, 'with', network=network)
    without = trained(
        tmp_path, 'without', network=network, schedule={'name': 'sequential', 'cache_mb': 0}
    )
    assert with_cache['weights_sha256'] == without['weights_sha256']


def test_chapters_of_several_epochs(tmp_path: Path) -> None:
    training = {'epochs': 4, 'batch_size': 50}
    short = trained(tmp_path, 'short', training=training)
    long = trained(
        tmp_path, 'long', training=training, schedule={'name': 'sequential', 'splits': 2}
    )
    assert (short['items'], long['items']) == (4, 2)
    assert short['weights_sha256'] != long['weights_sha256']


KEPT = {'splits': 2, 'arrivals': 'each_chapter'}


@pytest.mark.parametrize('network', [[PAIR] * 3, [HEAD] * 3], ids=['pair', 'head'])
def test_schedules_keep_the_same_arrivals(tmp_path: Path, network: list[dict]) -> None:
    settings = {'network': network, 'training': {'epochs': 4, 'batch_size': 50}}
    names = ('sequential', 'single_layer', 'all_layers')
    results = [
        trained(tmp_path, name, schedule=KEPT | {'name': name}, **settings) for name in names
    ]
    assert results[0]['weights_sha256'] == results[1]['weights_sha256']
    assert results[0]['weights_sha256'] == results[2]['weights_sha256']


@pytest.mark.parametrize('layer', [0, 2])
def test_what_arrives_once_is_what_arrives_in_each_epoch(layer: int) -> None:
    settings = {
        'network': [PAIR] * 3,
        'training': {'epochs': 6, 'batch_size': 30},
        'classification': {'mode': 'one_pass'},
    }
    plain, kept = (
        a_worker(**settings, schedule={'name': 'sequential'} | choice)
        for choice in ({'splits': 2}, KEPT)
    )
    part = Part(1, layer)
    for epoch in plain.plan.epochs(1):
        both = (list(worker._blocks(part, epoch)) for worker in (plain, kept))
        for ours, wanted in zip(*both, strict=True):
            torch.testing.assert_close(ours.train.positive, wanted.train.positive)
            torch.testing.assert_close(ours.neutral.positive, wanted.neutral.positive)
            if layer == 0:
                assert torch.equal(ours.train.labels, wanted.train.labels)
                assert torch.equal(ours.train.negative_labels, wanted.train.negative_labels)
            else:
                torch.testing.assert_close(ours.train.negative, wanted.train.negative)


@pytest.mark.parametrize('moments', ['travel', 'stay'])
def test_moments_that_stay_change_the_result_unless_one_worker_has_them(
    tmp_path: Path, moments: str
) -> None:
    sequential = trained(tmp_path, 'one')
    alone = {'name': 'all_layers', 'workers': 1, 'moments': moments}
    two = {'name': 'all_layers', 'workers': 2, 'moments': moments}
    same = sequential['weights_sha256']
    assert trained(tmp_path, 'alone', schedule=alone)['weights_sha256'] == same
    together = trained(tmp_path, 'two', schedule=two)
    assert (together['weights_sha256'] == same) == (moments == 'travel')


def test_an_own_share_changes_the_result_of_federated_training(tmp_path: Path) -> None:
    def of(share: float) -> dict[str, Any]:
        schedule = {'name': 'federated', 'own_share': share}
        training = {'epochs': 4, 'batch_size': 50}
        return trained(tmp_path, f'share{int(10 * share)}', schedule=schedule, training=training)

    plain, met = of(0.0), of(0.5)
    assert plain['weights_sha256'] != met['weights_sha256']
    assert len(plain['shard_accuracy']) == 2
    assert all(0 <= each <= 1 for each in plain['shard_accuracy'].values())


class Crash(Exception):
    """The process ends here."""


def stop_behind(run: RunFolder, parts: int) -> None:
    """Train until so many parts are made."""
    reference = ChapterReference(run, lambda event: None)
    make, made = reference._make, itertools.count()

    def crash(part: Part) -> None:
        if next(made) == parts:
            raise Crash
        make(part)

    reference._make = crash
    with pytest.raises(Crash):
        reference.run()
    reference.journal.close()


@pytest.mark.parametrize('schedule', ['all_layers', 'federated'])
@pytest.mark.parametrize('behind', [0, 1, 3, 5])
def test_a_run_goes_on_behind_its_last_part(tmp_path: Path, schedule: str, behind: int) -> None:
    settings = {'schedule': schedule, 'training': {'epochs': 3, 'batch_size': 50}}
    expected = trained(tmp_path, 'whole', **settings)
    run = create_run(tmp_path, 'crashed', resolved_run(**settings))
    stop_behind(run, behind)
    resumed = run_chapters(RunFolder(run.path), lambda event: None, time.monotonic())
    assert resumed['weights_sha256'] == expected['weights_sha256']
    assert resumed['history'] == expected['history']
    assert resumed.get('shard_accuracy') == expected.get('shard_accuracy')


@pytest.mark.parametrize('schedule', ['sequential', 'single_layer', 'all_layers', 'federated'])
@pytest.mark.parametrize('behind', range(1, 8))
def test_the_newest_part_may_be_torn(tmp_path: Path, schedule: str, behind: int) -> None:
    settings = {'schedule': schedule, 'training': {'epochs': 4, 'batch_size': 50}}
    expected = trained(tmp_path, 'whole', **settings)
    run = create_run(tmp_path, 'torn', resolved_run(**settings))
    stop_behind(run, behind)
    newest = max(run.checkpoints.glob('worker_*.ckpt'), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1])
    again = run_chapters(RunFolder(run.path), lambda event: None, time.monotonic())
    assert again['weights_sha256'] == expected['weights_sha256']
    assert again['history'] == expected['history']


def test_a_torn_part_is_made_again(tmp_path: Path) -> None:
    settings = {'schedule': 'all_layers', 'training': {'epochs': 3, 'batch_size': 50}}
    expected = trained(tmp_path, 'whole', **settings)
    run = create_run(tmp_path, 'torn', resolved_run(**settings))
    run_chapters(run, lambda event: None, time.monotonic())
    run.result_file.unlink()
    newest = run.checkpoints / 'worker_0_layer_1-000000003.ckpt'
    newest.write_bytes(newest.read_bytes()[:-1])
    again = run_chapters(RunFolder(run.path), lambda event: None, time.monotonic())
    assert again['weights_sha256'] == expected['weights_sha256']


def a_worker(**settings: Any) -> ChapterWorker:
    resolved = resolved_run(**settings)
    images = torch.arange(200 * 64).remainder(251).to(torch.uint8).view(200, 8, 8, 1)
    labels = torch.arange(200) % 10
    dataset = Dataset(resolved.facts, images, labels, images, labels)
    return ChapterWorker(resolved, dataset, torch.device('cpu'))


def test_a_worker_refuses_what_is_not_its_layer() -> None:
    with pytest.raises(ValueError, match='lacks'):
        a_worker().load(Part(1, 0), Need(Part(0, 0), True), {'weight': torch.zeros(1)})


@pytest.mark.parametrize('blocks', [0, 1, 1000])
@pytest.mark.parametrize('cache_mb', [0, 256])
def test_what_is_prepared_changes_no_bit(blocks: int, cache_mb: int) -> None:
    settings = {'network': [PAIR] * 3, 'schedule': {'name': 'sequential', 'cache_mb': cache_mb}}
    ahead, plain = a_worker(**settings), a_worker(**settings)
    for part in [part for part in plain.plan.parts() if part.chapter < 2]:
        prepared = sum(1 for _ in itertools.islice(ahead.prepare(part), blocks))
        assert bool(prepared) == bool(blocks and cache_mb)
        made, wanted = (worker.make(part, lambda step: None) for worker in (ahead, plain))
        assert made.keys() == wanted.keys()
        assert all(torch.equal(made[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'schedule': {'name': 'all_layers', 'splits': 2}}, 'schedule.splits must divide'),
        (
            {'schedule': {'name': 'federated', 'workers': 20}},
            'training.batch_size must be at most the 10 training samples',
        ),
        (
            {
                'schedule': 'federated',
                'training': {
                    'epochs': 3,
                    'batch_size': 50,
                    'negatives': {'mode': 'adaptive', 'lag_chapters': 3},
                },
            },
            'training.negatives.lag_chapters must be a multiple of the 2 workers',
        ),
        (
            {
                'schedule': {'name': 'sequential', 'arrivals': 'each_chapter'},
                'data': {'flip': True},
            },
            'augmented .data.flip is true',
        ),
        ({'checkpoint': {'replicate': True}}, 'checkpoint.replicate is for the schedule stream'),
        (
            {
                'network': [HEAD, HEAD | {'epochs': [1, 2]}],
                'schedule': {'name': 'all_layers', 'moments': 'stay'},
            },
            "schedule.moments must be 'travel' where network.1..epochs",
        ),
        (
            {'schedule': {'name': 'federated', 'data': 'sent'}},
            "schedule.data must be 'own' for the federated schedule",
        ),
        (
            {
                'training': {'epochs': 3, 'batch_size': 50, 'negatives': {'mode': 'hybrid'}},
                'classification': {'mode': 'one_pass'},
            },
            "mode 'hybrid' is for the schedule stream",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, words: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=words):
        resolved_run(**settings)


def test_the_stream_s_coordinator_refuses_chapters(tmp_path: Path) -> None:
    run = create_run(tmp_path, 'run', resolved_run())
    with pytest.raises(ConfigError, match='chapter_coordinator_node'):
        make_task('train', '', [], tmp_path, run.name, '')


def test_parts_of_another_run_are_no_use(tmp_path: Path) -> None:
    first = create_run(tmp_path, 'first', resolved_run())
    run_chapters(first, lambda event: None, time.monotonic())
    second = ChapterReference(create_run(tmp_path, 'second', resolved_run()), lambda event: None)
    for path in first.checkpoints.glob('worker_0_*'):
        (second.folder.checkpoints / path.name).parent.mkdir(exist_ok=True)
        (second.folder.checkpoints / path.name).write_bytes(path.read_bytes())
    done, wrong = second.stores[0].look()
    assert done == 0
    assert all('run_id' in text for text in wrong) and wrong
    with pytest.raises(CheckpointError, match='No such file'):
        second.stores[0].load(Part(2, 0))
