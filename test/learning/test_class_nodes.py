# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Virtual nodes of classes: the published formulas, and what no node may find out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.full_graph_layer import FullGraphLayer
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import UNLABELLED, ResolvedRun, resolve

NODES, CLASSES, FEATURES = 40, 3, 5
KNOWN = 12


def a_run(**layer: object) -> ResolvedRun:
    config = Config.model_validate({'network': [{'type': 'graph', 'units': 9, **layer}] * 2})
    edges = len(a_graph().edges)
    return resolve(
        config, DataFacts((FEATURES,), CLASSES, KNOWN, 20, 1.0, 'float32', NODES, edges)
    )


def a_graph() -> Batch:
    random = torch.Generator().manual_seed(0)
    edges = torch.randint(0, NODES, (90, 2), generator=random)
    edges = edges[edges[:, 0] < edges[:, 1]].unique(dim=0)
    labels = torch.full((NODES,), UNLABELLED)
    labels[torch.randperm(NODES, generator=random)[:KNOWN]] = torch.arange(KNOWN) % CLASSES
    return Batch(torch.randn(NODES, FEATURES, generator=random), labels=labels, edges=edges)


def a_layer(**layer: object) -> FullGraphLayer:
    made = make_layer(a_run(**layer), 0, torch.device('cpu'))
    assert isinstance(made, FullGraphLayer)
    return made


def published(layer: FullGraphLayer, batch: Batch) -> Tensor:
    """Compute the logits one by one: a virtual node is made of all other training nodes."""
    body, graph = layer.body, layer._graph_of(batch)
    said = batch.positive @ body.linear.weight.T
    outputs = torch.relu(graph.aggregate(said, body.aggregation) + body.bias)
    logits = torch.empty(NODES, CLASSES)
    for node in range(NODES):
        for label in range(CLASSES):
            members = [each for each in range(NODES) if batch.labels[each] == label]
            others = [each for each in members if each != node]
            virtual = torch.relu(said[others].mean(0) + body.bias)
            logits[node, label] = cosine_similarity(outputs[node], virtual, dim=0) / 0.5
    return logits


@pytest.mark.parametrize('aggregation', ['mean', 'symmetric'])
def test_scores_and_loss_are_those_of_the_formulas(aggregation: str) -> None:
    layer, batch = a_layer(aggregation=aggregation), a_graph()
    logits = published(layer, batch).detach()
    _, scores = layer.evaluate(batch)
    assert torch.allclose(scores, logits.softmax(1), atol=1e-5)
    known = batch.labels != UNLABELLED
    expected = cross_entropy(logits[known], batch.labels[known])
    _, figures = layer.train(batch)
    assert figures.loss == pytest.approx(float(expected), rel=1e-4)


def test_the_gradient_is_that_of_the_formulas() -> None:
    layer, batch = a_layer(), a_graph()
    known = batch.labels != UNLABELLED
    loss = cross_entropy(published(layer, batch)[known], batch.labels[known])
    right = torch.autograd.grad(loss, list(layer.body.parameters()))
    ours, _ = layer.rule.loss(layer._step(batch))
    found = torch.autograd.grad(ours, list(layer.body.parameters()))
    for one, other in zip(found, right, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_node_does_not_find_its_own_class_in_its_scores() -> None:
    """Whether its class is known changes nothing for the classes that it does not have."""
    layer, batch = a_layer(), a_graph()
    node = int((batch.labels != UNLABELLED).nonzero()[0])
    own = int(batch.labels[node])
    hidden = batch.labels.clone()
    hidden[node] = UNLABELLED
    logits = published(layer, batch)
    unseen = published(layer, Batch(batch.positive, labels=hidden, edges=batch.edges))
    assert torch.allclose(logits[node], unseen[node])
    one = layer.evaluate(batch)[1][node]
    other = layer.evaluate(Batch(batch.positive, labels=hidden, edges=batch.edges))[1][node]
    assert torch.allclose(one, other, atol=1e-6), own


def test_labels_change_scores_but_nothing_that_passes_on() -> None:
    layer, batch = a_layer(), a_graph()
    swapped = batch.labels.clone()
    known = swapped != UNLABELLED
    swapped[known] = (swapped[known] + 1) % CLASSES
    passed, scores = layer.evaluate(batch)
    again, others = layer.evaluate(Batch(batch.positive, labels=swapped, edges=batch.edges))
    assert torch.equal(passed.positive, again.positive)
    assert torch.allclose(scores, others.roll(-1, 1), atol=1e-6)


def test_what_passes_on_is_normalised_and_carries_graph_and_labels() -> None:
    layer, batch = a_layer(), a_graph()
    passed, _ = layer.train(batch)
    assert passed.positive.shape == (NODES, 9)
    assert torch.allclose(passed.positive.mean(1), torch.zeros(NODES), atol=1e-6)
    assert torch.equal(passed.labels, batch.labels)
    assert torch.equal(passed.edges, batch.edges)
    assert not passed.positive.requires_grad


def test_another_graph_is_not_taken_for_the_one_before() -> None:
    layer, batch = a_layer(), a_graph()
    other = Batch(batch.positive, labels=batch.labels, edges=batch.edges[5:])
    layer.evaluate(batch)
    assert torch.equal(layer.evaluate(other)[1], a_layer().evaluate(other)[1])


def test_a_layer_comes_back_to_the_same_bits() -> None:
    straight, batch = a_layer(dropout=0.2), a_graph()
    for _ in range(3):
        straight.train(batch)
    back = a_layer(dropout=0.2)
    back.load_state({name: each.clone() for name, each in straight.state().items()})
    passed, again = straight.train(batch)[0], back.train(batch)[0]
    assert torch.equal(passed.positive, again.positive)
    assert straight.weights_sha256() == back.weights_sha256()


def test_a_layer_learns_in_its_epochs_only() -> None:
    layer, batch = a_layer(epochs=[1, 2]), a_graph()
    fresh = layer.weights_sha256()
    layer.train(batch)
    assert layer.weights_sha256() == fresh
    layer.train(batch)
    learned = layer.weights_sha256()
    assert learned != fresh
    layer.train(batch)
    assert layer.weights_sha256() == learned


def test_parameters_are_those_of_the_settings() -> None:
    run = a_run()
    for index, shape in enumerate(run.layers):
        layer = make_layer(run, index, torch.device('cpu'))
        assert shape.parameters == sum(each.numel() for each in layer.parameters().values())
        assert shape.passed_shape == (9,)
