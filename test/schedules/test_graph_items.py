# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run on a graph: what is given out, whose answers count, and who learns no class."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dff_nodes.data.dataset import GraphDataset, load_dataset
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import count_items, footprint
from dff_nodes.runs.resolve import UNLABELLED, ResolvedRun, resolve
from dff_nodes.runs.run_folder import create_run
from dff_nodes.schedules.plan import EvaluationPlan, TrainingPlan
from dff_nodes.schedules.reference import ReferenceRun
from dff_nodes.schedules.stream import StreamCoordinator
from dff_nodes.schedules.task import make_task
from dff_nodes.stream.codec import encode
from dff_nodes.stream.item import Item, Kind

Save = Callable[..., Path]
NODES, KNOWN, TESTS = 60, 24, 24


def a_run(path: Path, **sections: Any) -> tuple[ResolvedRun, GraphDataset]:
    tree = {'data': {'dataset': str(path)}, 'network': 'graph', 'training': {'epochs': 4}}
    config = Config.model_validate(tree | sections)
    dataset = load_dataset(config.data)
    return resolve(config, dataset.facts), dataset


def items_of(run: ResolvedRun, dataset: GraphDataset) -> list[Item]:
    """Give all items, scored by nobody in particular."""
    coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
    items = []
    while (item := coordinator.next_item()) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize('held_out', [0, 6])
def test_no_label_of_another_node_leaves_the_coordinator(save_graph: Save, held_out: int) -> None:
    run, dataset = a_run(
        save_graph(), data={'dataset': str(save_graph()), 'validation_samples': held_out}
    )
    kinds = Counter()
    for item in items_of(run, dataset):
        kinds[item.kind] += 1
        if item.batch is not None:
            labels = encode(item).labels
            assert labels[:KNOWN] == array('H', [node % 3 for node in range(KNOWN)])
            assert set(labels[KNOWN:]) == {UNLABELLED}
    assert kinds == {Kind.TRAIN: 4, Kind.EVALUATE: 5, Kind.MARK: 4}


def test_other_classes_of_test_nodes_change_what_is_right_and_nothing_else(
    save_graph: Save,
) -> None:
    weights, answers = [], []
    for name, turn in (('true', 0), ('turned', 1)):
        nodes = torch.arange(NODES)
        labels = torch.where(nodes < KNOWN, nodes % 3, (nodes + turn) % 3).numpy()
        run, dataset = a_run(save_graph(name, labels=labels))
        reference = ReferenceRun(run, StreamCoordinator(run, dataset, TrainingPlan(run)))
        reference.run()
        weights.append([each.weights_sha256 for each in reference.reports()])
        answers.append([each.accuracy for each in reference.coordinator.evaluations])
    assert weights[0] == weights[1]
    assert answers[0] != answers[1]
    assert answers[0][-1] == answers[1][-1], 'training nodes'


def test_the_items_are_those_that_were_counted(save_graph: Save) -> None:
    sections = {'evaluation': {'every_epochs': 3, 'train_samples': 10}}
    run, dataset = a_run(save_graph(), training={'epochs': 7, 'batch_size': 50}, **sections)
    items = items_of(run, dataset)
    counts = count_items(run)
    assert counts.items == len(items) == TrainingPlan(run).items
    assert counts.train_items == 7
    assert counts.evaluate_items == sum(item.kind == Kind.EVALUATE for item in items) == 4
    batches = [item for item in items if item.batch is not None]
    sent = sum(encode(item).payload_bytes for item in batches)
    first, second = footprint(run).layers
    assert first.hop_bytes == sent
    assert second.hop_bytes == sent + 4 * NODES * (256 - 7) * len(batches)
    assert first.goodness_bytes == 4 * 3 * NODES * 4
    assert first.item_bytes.train == first.item_bytes.evaluate == run.item_bytes(0)
    assert footprint(run).items_per_epoch == 2


def test_only_the_nodes_of_the_split_are_counted(save_graph: Save) -> None:
    run, dataset = a_run(save_graph(), evaluation={'train_samples': 10, 'every_epochs': 0})
    coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
    while coordinator.next_item() is not None:
        pass
    right = torch.zeros(NODES, 3)
    right[torch.arange(NODES), torch.from_numpy(_labels(save_graph()))] = 1
    right[dataset.test_nodes[:6]] = right[dataset.test_nodes[:6]].roll(1, 1)
    right[24:36] = 0
    for planned in (coordinator.scored_item(0), coordinator.scored_item(1)):
        assert coordinator.samples_of(planned) == NODES
        for layer in range(2):
            coordinator.add_scores(layer, planned.number, right)
    test, train = coordinator.evaluations
    assert (test.split, test.samples, test.accuracy) == ('test', TESTS, 18 / 24)
    assert (train.split, train.samples, train.accuracy) == ('train', 10, 1.0)


def test_an_evaluation_is_one_item(save_graph: Save) -> None:
    run, dataset = a_run(save_graph())
    plan = EvaluationPlan(TESTS, run.evaluation_batch)
    coordinator = StreamCoordinator(run, dataset, plan)
    coordinator.next_item()
    coordinator.add_scores(0, 0, torch.ones(NODES, 3))
    coordinator.add_scores(1, 0, torch.ones(NODES, 3))
    (evaluation,) = coordinator.evaluations
    assert evaluation.samples == TESTS
    assert coordinator.answers[0][0].shape == (TESTS, 3)


def _labels(path: Path) -> Any:
    return np.load(path)['labels']


def test_images_are_no_nodes(save_graph: Save, tmp_path: Path) -> None:
    run, _ = a_run(save_graph())
    create_run(tmp_path, 'r', run)
    with pytest.raises(ConfigError, match='dff evaluate'):
        make_task('classify', '', [], tmp_path, 'r', 'images.npz')
