# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Graphs as bytes and back, and everything that a message may not say of one."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import UNLABELLED, ResolvedRun, resolve
from dff_nodes.stream.codec import ItemDecoder, Rejected, WireItem, encode
from dff_nodes.stream.item import Item, Kind

NODES, CLASSES, FEATURES, UNITS = 8, 2, 3, 4
EDGES = [[0, 1], [0, 7], [2, 3], [2, 5]]
LABELS = [0, 1, 0, 1, 1] + [UNLABELLED] * 3


def a_run(wire: str = 'float32') -> ResolvedRun:
    layer = {'type': 'graph', 'units': UNITS}
    config = {'network': [layer, layer], 'stream': {'dtype': wire}}
    facts = DataFacts((FEATURES,), CLASSES, 5, 2, 1.0, 'float32', NODES, len(EDGES))
    return resolve(Config.model_validate(config), facts)


def an_item(run: ResolvedRun, layer: int, kind: Kind = Kind.TRAIN) -> Item:
    shape, dtype = run.arriving(layer)
    rows = torch.randn(NODES, *shape).to(getattr(torch, dtype))
    return Item(5, kind, 1, Batch(rows, labels=torch.tensor(LABELS), edges=torch.tensor(EDGES)))


@pytest.mark.parametrize('wire', ['float32', 'float16'])
@pytest.mark.parametrize('kind', [Kind.TRAIN, Kind.EVALUATE])
@pytest.mark.parametrize('layer', [0, 1])
def test_a_graph_comes_back_bit_for_bit(layer: int, kind: Kind, wire: str) -> None:
    run = a_run(wire)
    item = an_item(run, layer, kind)
    encoded = encode(item)
    back = ItemDecoder(run, layer).decode(encoded)
    for name in ('positive', 'labels', 'edges'):
        assert torch.equal(getattr(back.batch, name), getattr(item.batch, name))
    assert encoded.payload_bytes == run.hop_bytes(layer, kind.name, NODES)
    assert encoded.payload_bytes <= run.item_bytes(layer)


def edges(*nodes: int) -> dict[str, array]:
    return {'edges': array('I', nodes)}


def labels(*classes: int) -> dict[str, array]:
    return {'labels': array('H', classes)}


NO = UNLABELLED
REFUSED = {
    'no edges': (edges(), 'length of edges is 0'),
    'an edge less': (edges(0, 1, 0, 7, 2, 3), 'length of edges is 6'),
    'half an edge': (edges(0, 1, 0, 7, 2, 3, 2), 'length of edges is 7'),
    'an edge more': (edges(0, 1, 0, 7, 2, 3, 2, 5, 6, 7), 'length of edges is 10'),
    'no such node': (edges(0, 1, 0, 8, 2, 3, 2, 5), 'largest node of edges is 8'),
    'highest number': (edges(0, 1, 0, 2**32 - 1, 2, 3, 2, 5), 'largest node of edges'),
    'loop': (edges(0, 1, 0, 7, 2, 2, 2, 5), 'first node of an edge is not lower'),
    'downwards': (edges(1, 0, 0, 7, 2, 3, 2, 5), 'first node of an edge is not lower'),
    'twice': (edges(0, 1, 0, 1, 2, 3, 2, 5), 'order of edges'),
    'unordered': (edges(0, 7, 0, 1, 2, 3, 2, 5), 'order of edges'),
    'fewer nodes': ({'samples': NODES - 1}, 'samples is 7'),
    'more nodes': ({'samples': NODES + 1}, 'samples is 9'),
    'no labels': (labels(), 'length of labels is 0'),
    'a test label': (labels(0, 1, 0, 1, 1, 1, NO, NO), 'known labels is 6'),
    'a label less': (labels(0, 1, 0, 1, NO, NO, NO, NO), 'known labels is 4'),
    'no label': (labels(*[NO] * 8), 'known labels is 0'),
    'no such class': (labels(0, 1, 0, 1, 2, NO, NO, NO), 'largest of labels is 2'),
    'a class of one': (labels(0, 1, 1, 1, 1, NO, NO, NO), 'fewest labels of a class is 1'),
    'a class of none': (labels(1, 1, 1, 1, 1, NO, NO, NO), 'fewest labels of a class is 0'),
    'wrong labels': ({'negative_labels': array('H', [0] * 8)}, 'length of negative_labels'),
    'score': ({'kind': 1}, 'kind is SCORE'),
}


@pytest.mark.parametrize('kind', [Kind.TRAIN, Kind.EVALUATE])
@pytest.mark.parametrize(('change', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_named(kind: Kind, change: dict, message: str) -> None:
    run = a_run()
    wire = encode(an_item(run, 1, kind))
    decoder = ItemDecoder(run, 1)
    decoder.decode(wire)
    with pytest.raises(Rejected, match=message):
        decoder.decode(replace(wire, **change))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, NODES), min_size=8, max_size=8),
    st.lists(st.sampled_from([0, 1, 2, NO]), min_size=NODES, max_size=NODES),
)
def test_whatever_is_taken_is_a_graph_of_the_run(nodes: list[int], classes: list[int]) -> None:
    run = a_run()
    wire: WireItem = replace(encode(an_item(run, 0)), **edges(*nodes), **labels(*classes))
    try:
        batch = ItemDecoder(run, 0).decode(wire).batch
    except Rejected:
        return
    pairs = [tuple(pair) for pair in batch.edges.tolist()]
    assert pairs == sorted(set(pairs))
    assert all(0 <= low < high < NODES for low, high in pairs)
    known = batch.labels[batch.labels != UNLABELLED]
    assert sorted(set(known.tolist())) == [0, 1]
