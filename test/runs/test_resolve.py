# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Configuration and data together: shapes, sizes, and what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import DTYPE_BYTES, ResolvedRun, resolve
from dff_nodes.stream.codec import encode
from dff_nodes.stream.item import Item, Kind

FACTS = DataFacts((3, 4, 2), 5, 103, 11, 255.0, 'uint8')


def a_run(facts: DataFacts = FACTS, **sections: Any) -> ResolvedRun:
    layers = [{'units': 6}, {'units': 9, 'optimizer': 'sgd'}, {'units': 4}]
    return resolve(Config.model_validate({'network': layers} | sections), facts)


def test_each_layer_takes_what_the_one_before_gives() -> None:
    run = a_run()
    assert [(each.name, each.inputs, each.units) for each in run.layers] == [
        ('layer_0', 24, 6),
        ('layer_1', 6, 9),
        ('layer_2', 9, 4),
    ]
    assert [each.optimizer.name for each in run.layers] == ['adam', 'sgd', 'adam']


def test_a_prepended_label_widens_the_first_layer_only() -> None:
    run = a_run(data={'label': {'position': 'prepend'}})
    assert [each.inputs for each in run.layers] == [29, 6, 9]


@pytest.mark.parametrize('readout', [False, True])
@pytest.mark.parametrize('position', ['overwrite', 'prepend'])
def test_parameters_are_those_of_the_layer(readout: bool, position: str) -> None:
    run = a_run(
        data={'label': {'position': position}},
        classification={'mode': 'one_pass' if readout else 'goodness'},
    )
    for index, shape in enumerate(run.layers):
        layer = make_layer(run, index, torch.device('cpu'))
        assert shape.parameters == sum(each.numel() for each in layer.parameters().values())
        assert shape.readout_classes == (5 if readout else 0)


def test_state_bytes_are_those_of_weights_gradients_and_moments() -> None:
    run = a_run()
    adam, sgd, _ = run.layers
    assert adam.state_bytes == 4 * 4 * (24 * 6 + 6)
    assert sgd.state_bytes == 4 * 3 * (6 * 9 + 9)


@pytest.mark.parametrize(
    ('samples', 'batch', 'batches'), [(103, 64, 2), (103, 103, 1), (103, 1, 103), (100, 20, 5)]
)
def test_the_last_batch_may_be_smaller(samples: int, batch: int, batches: int) -> None:
    facts = DataFacts((3, 4, 2), 5, samples, 11, 255.0, 'uint8')
    run = a_run(facts, training={'batch_size': batch, 'epochs': 3})
    assert run.batches_per_epoch == batches
    assert run.train_steps == 3 * batches


@pytest.mark.parametrize(
    ('mode', 'batch', 'candidates', 'evaluated'),
    [
        ('goodness', 64, 5, 25),
        ('goodness', 2, 5, 1),
        ('one_pass', 64, 1, 128),
        ('one_pass', 1, 1, 2),
    ],
)
def test_an_evaluation_has_at_most_the_rows_of_a_training_batch(
    mode: str, batch: int, candidates: int, evaluated: int
) -> None:
    run = a_run(classification={'mode': mode}, training={'batch_size': batch})
    assert run.candidates == candidates
    assert run.evaluation_batch == evaluated


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.integers(1, 12),
    st.sampled_from(['uint8', 'float32']),
    st.sampled_from(['uint8', 'float16', 'float32']),
    st.sampled_from(['goodness', 'one_pass']),
    st.integers(2, 40),
)
def test_no_item_is_larger_than_announced(
    batch: int, inputs: str, wire: str, mode: str, units: int
) -> None:
    facts = DataFacts((3, 4, 2), 5, 103, 11, 255.0, inputs)
    run = a_run(
        facts,
        network=[{'units': units}, {'units': 4}],
        training={'batch_size': batch, 'negatives': {'mode': 'adaptive'}},
        classification={'mode': mode},
        stream={'dtype': wire},
    )
    images, labels = torch.zeros(batch, 3, 4, 2), torch.zeros(batch, dtype=torch.int64)
    tested = torch.zeros(run.evaluation_batch, 3, 4, 2)
    of_images = [
        Batch(images, labels=labels, negative_labels=labels),
        Batch(images, labels=labels),
        Batch(tested),
    ]
    rows = torch.zeros(batch, units)
    tried = torch.zeros(run.evaluation_batch * run.candidates, units)
    of_activities = [Batch(rows, rows), Batch(rows, labels=labels), Batch(tried)]
    for layer, batches, dtype in ((0, of_images, inputs), (1, of_activities, wire)):
        sizes = [size_of(each, getattr(torch, dtype)) for each in batches]
        assert max(sizes) <= run.item_bytes(layer)
        # The bound serves to plan memory: it is not much more than the largest item.
        assert run.item_bytes(layer) <= max(sizes) + 4 * run.evaluation_batch


def size_of(batch: Batch, dtype: torch.dtype) -> int:
    negative = None if batch.negative is None else batch.negative.to(dtype)
    sent = Batch(batch.positive.to(dtype), negative, batch.labels, batch.negative_labels)
    return encode(Item(0, Kind.TRAIN, 0, sent)).payload_bytes


def test_dtype_bytes_are_those_of_torch() -> None:
    for name, size in DTYPE_BYTES.items():
        assert getattr(torch, name).itemsize == size


def test_a_run_travels_as_json() -> None:
    run = a_run(seed=7, placement={'pi': ['coordinator', 'layer_0', 'layer_1', 'layer_2']})
    received = ResolvedRun.from_json(run.to_json())
    assert received == run
    assert received.hash == run.hash
    assert received.layers == run.layers


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        'null',
        '[]',
        '{}',
        '"text"',
        '{"config": {}}',
        '{"config": null, "facts": null}',
        '{"config": [], "facts": {}}',
    ],
)
def test_what_is_no_run_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        ResolvedRun.from_json(text)


@pytest.mark.parametrize(
    ('part', 'key', 'value'),
    [
        ('config', 'seed', -1),
        ('config', 'unknown', 1),
        ('config', 'network', []),
        ('config', 'training', {'epochs': 'many'}),
        ('facts', 'classes', 1),
        ('facts', 'classes', 2.5),
        ('facts', 'input_shape', [0]),
        ('facts', 'input_shape', None),
        ('facts', 'scale', 0.0),
        ('facts', 'dtype', 'object'),
        ('facts', 'train_samples', -5),
        ('facts', 'unknown', 1),
    ],
)
def test_a_run_from_the_network_is_checked(part: str, key: str, value: Any) -> None:
    tree = json.loads(a_run().to_json())
    tree[part][key] = value
    with pytest.raises(ValueError):
        ResolvedRun.from_json(json.dumps(tree))


@pytest.mark.parametrize('missing', ['config', 'facts'])
def test_half_a_run_is_refused(missing: str) -> None:
    tree = json.loads(a_run().to_json())
    del tree[missing]
    with pytest.raises(ValueError, match='not a resolved run'):
        ResolvedRun.from_json(json.dumps(tree))


def test_a_label_that_would_cover_the_whole_image_is_refused() -> None:
    tiny = DataFacts((5,), 5, 103, 11, 1.0, 'float32')
    with pytest.raises(ConfigError, match="5 classes leave nothing of 5 inputs: use 'prepend'"):
        a_run(tiny)
    assert a_run(tiny, data={'label': {'position': 'prepend'}}).layers[0].inputs == 10


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match='batch_size must be at most the 103 .* got 104'):
        a_run(training={'batch_size': 104})


def test_the_hash_is_of_what_changes_the_result() -> None:
    run = a_run()
    assert a_run(stream={'window_items': 9}).hash == run.hash
    assert a_run(seed=1).hash != run.hash
    assert a_run(stream={'dtype': 'float16'}).hash != run.hash


GRAPH = DataFacts((7,), 3, 24, 24, 1.0, 'float32', 60, 90)


def test_a_graph_is_one_item_with_its_edges() -> None:
    run = a_run(GRAPH, network='graph', training={'batch_size': 50, 'epochs': 6})
    assert [(each.inputs, each.units) for each in run.layers] == [(7, 256), (256, 256)]
    assert (run.batches_per_epoch, run.train_steps, run.evaluation_batch) == (1, 6, 60)
    assert run.hop_bytes(1, 'TRAIN', 60) == 60 * (256 * 4 + 2) + 90 * 8
    assert ResolvedRun.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    ('facts', 'sections', 'message'),
    [
        (FACTS, {'network': 'graph'}, 'data.dataset must be the .npz of a graph'),
        (GRAPH, {}, r'network\[0\].type must be graph for the graph of'),
        (GRAPH, {'network': 'graph', 'stream': {'dtype': 'uint8'}}, 'stream.dtype uint8'),
    ],
)
def test_graph_layers_and_graphs_belong_together(
    facts: DataFacts, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        a_run(facts, **sections)
