# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A well-formed graph loads as it is meant; every malformed one is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dff_nodes.data.dataset import GraphDataset, load_dataset, read_facts
from dff_nodes.data.facts import DataError, DataFacts
from dff_nodes.runs.learning_config import DataConfig
from dff_nodes.runs.resolve import UNLABELLED

Save = Callable[..., Path]
NODES = np.arange(60)


def load(path: Path, **settings: object) -> GraphDataset:
    return load_dataset(DataConfig(dataset=str(path), **settings))


def test_a_graph_is_what_the_file_holds(save_graph: Save) -> None:
    path = save_graph()
    graph, file = load(path), np.load(path)
    assert read_facts(DataConfig(dataset=str(path))) == graph.facts
    edges = len(graph.edges)
    assert graph.facts == DataFacts((7,), 3, 24, 24, 1.0, 'float32', 60, edges)
    assert torch.equal(graph.features, torch.from_numpy(file['features']).float())
    assert graph.train_nodes.tolist() == list(range(24))
    assert graph.test_nodes.tolist() == list(range(36, 60))
    assert graph.y_test.tolist() == file['labels'][36:].tolist()
    assert graph.y_train.tolist() == file['labels'][:24].tolist()


def test_only_training_nodes_show_their_class(save_graph: Save) -> None:
    for graph in (load(save_graph()), load(save_graph(), validation_samples=12)):
        assert graph.shown[:24].tolist() == [node % 3 for node in range(24)]
        assert set(graph.shown[24:].tolist()) == {UNLABELLED}


def test_validation_nodes_take_the_place_of_the_test(save_graph: Save) -> None:
    graph = load(save_graph(), validation_samples=5)
    assert graph.facts.test_samples == len(graph.test_nodes) == 5
    assert set(graph.test_nodes.tolist()) <= set(range(24, 36))
    more = load(save_graph(), validation_samples=9)
    assert set(graph.test_nodes.tolist()) < set(more.test_nodes.tolist())
    path = save_graph('none', val_mask=None)
    for found, settings in ((save_graph(), 13), (path, 1)):
        with pytest.raises(DataError, match='validation_samples must be at most .* val_mask'):
            load(found, validation_samples=settings)


@pytest.mark.parametrize('dtype', ['int64', 'uint8', '>i4'])
def test_edges_join_both_ways_once(save_graph: Save, dtype: str) -> None:
    pairs = np.array([[5, 3], [3, 5], [3, 5], [7, 7], [0, 59], [3, 4]], dtype)
    for edges in (pairs, pairs.T):
        graph = load(save_graph('few', edges=edges))
        assert graph.edges.tolist() == [[0, 59], [3, 4], [3, 5]]


def test_nodes_in_no_mask_need_no_class(save_graph: Save) -> None:
    labels = np.where((NODES >= 24) & (NODES < 36), -1, NODES % 3)
    graph = load(save_graph('unknown', val_mask=None, labels=labels))
    assert graph.facts.classes == 3


FLAWS = {
    'no features': ({'features': None}, 'array features is missing'),
    'no edges': ({'edges': None}, 'array edges is missing'),
    'no mask': ({'test_mask': None}, 'array test_mask is missing'),
    'edge too high': ({'edges': np.array([[0, 1], [2, 60]])}, 'nodes 2 and 60 at position 1'),
    'edge below 0': ({'edges': np.array([[-1, 1]])}, 'nodes -1 and 1 at position 0'),
    'huge edge': ({'edges': np.array([[2**64 - 1, 1]], np.uint64)}, 'at position 0'),
    'float edges': ({'edges': np.array([[0.0, 1.0]])}, 'edges has dtype float64'),
    'triples': ({'edges': np.zeros((4, 3), int)}, r'edges has dtype int64 and shape \(4, 3\)'),
    'flat edges': ({'edges': np.zeros(4, int)}, 'edges has dtype'),
    'no edge': ({'edges': np.zeros((0, 2), int)}, 'edges joins no two nodes'),
    'loops only': ({'edges': np.array([[3, 3]])}, 'edges joins no two nodes'),
    'whole features': ({'features': np.ones((60, 7), int)}, 'features has dtype int64'),
    'flat features': ({'features': np.ones(60)}, 'features has dtype'),
    'no node': ({'features': np.ones((0, 7))}, 'features has shape'),
    'short labels': ({'labels': np.arange(59) % 3}, r'labels has dtype int64 and shape \(59,\)'),
    'float labels': ({'labels': np.ones(60)}, 'labels has dtype float64'),
    'label below 0': ({'labels': NODES % 3 - 9 * (NODES == 40)}, 'labels holds -8 at position 40'),
    'huge label': (
        {'labels': NODES % 3 + 65535 * (NODES == 9)},
        'labels holds 65535 at position 9',
    ),
    'one class': ({'labels': np.zeros(60, int)}, 'one class only'),
    'class unseen': ({'labels': NODES % 3 + 3 * (NODES == 50)}, '0 training nodes of class'),
    'class seen once': (
        {'labels': np.where(NODES == 1, 3, NODES % 3)},
        '1 training nodes of class 3',
    ),
    'whole mask': ({'train_mask': (NODES < 24).astype(int)}, 'train_mask has dtype int64'),
    'short mask': ({'test_mask': NODES[:59] > 36}, 'test_mask has dtype bool and shape'),
    'empty mask': ({'test_mask': NODES < 0}, 'test_mask is False everywhere'),
    'overlap': ({'test_mask': NODES >= 23}, 'same 1 nodes, first 23'),
    'overlapping validation': ({'val_mask': NODES < 3}, 'same 3 nodes, first 0'),
}


@pytest.mark.parametrize(('changes', 'message'), FLAWS.values(), ids=FLAWS)
def test_flaws_are_named(save_graph: Save, changes: dict, message: str) -> None:
    path = save_graph('flawed', **changes)
    for read in (read_facts, load_dataset):
        with pytest.raises(DataError, match=message) as caught:
            read(DataConfig(dataset=str(path)))
        assert str(path) in str(caught.value)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e39])
def test_features_must_be_finite(save_graph: Save, value: float) -> None:
    features = np.zeros((60, 7))
    features[8, 2] = value
    with pytest.raises(DataError, match='not finite, the first of node 8, feature 2'):
        load(save_graph('flawed', features=features))


def test_nodes_are_no_images(save_graph: Save) -> None:
    with pytest.raises(DataError, match='flip must be False'):
        load(save_graph(), flip=True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'nodes': 59, 'edges': 3}, 'nodes must be a whole number of at least 60'),
        ({'nodes': 60, 'edges': 0}, 'edges must be'),
        ({'nodes': 0, 'edges': 3}, 'nodes must be'),
        ({'nodes': 60, 'edges': 1, 'input_shape': [2, 2, 1]}, 'input_shape of a graph'),
    ],
)
def test_impossible_facts_are_refused(changes: dict, message: str) -> None:
    facts = DataFacts((7,), 3, 24, 36, 1.0, 'float32', 60, 3)
    assert DataFacts.from_dict(facts.as_dict()) == facts
    with pytest.raises(DataError, match=message):
        DataFacts.from_dict(facts.as_dict() | changes)
