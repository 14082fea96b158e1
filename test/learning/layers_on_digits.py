# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Layers of one stream that learn the embedded digits, for tests."""

from __future__ import annotations

from typing import Any

import torch

from dff_nodes.data.batches import Batches
from dff_nodes.data.dataset import load_dataset
from dff_nodes.data.facts import Augmentation
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.runs.config_file import check_config
from dff_nodes.runs.resolve import ResolvedRun, resolve

CPU = torch.device('cpu')
LAYERS = {
    'dense': {'type': 'dense', 'units': 80, 'normalization': 'batch'},
    'conv': {'type': 'conv', 'channels': 20, 'pool': 2},
}


def run_of(*layers: dict[str, Any], **sections: Any) -> ResolvedRun:
    """Resolve a run on digits."""
    tree = {
        'data': {'standardize': True},
        'network': list(layers),
        'training': {'epochs': 6, 'batch_size': 64},
    }
    config = check_config(tree | sections, 'test')
    return resolve(config, load_dataset(config.data).facts)


def one_layer(rule: str | dict[str, Any], kind: str, **settings: Any) -> Layer:
    return make_layer(run_of(LAYERS[kind] | {'rule': rule} | settings), 0, CPU)


def digits() -> Batches:
    config = run_of(LAYERS['dense'] | {'rule': 'softmax_head'}).config
    return Batches(load_dataset(config.data), 64, Augmentation(), 0)


def train(layer: Layer, batches: Batches, steps: range) -> list[float]:
    losses = []
    for step in steps:
        epoch, index = divmod(step, batches.per_epoch)
        batch = batches.batch(epoch, index)
        passed, figures = layer.train(Batch(batch.images, labels=batch.labels))
        assert not passed.positive.requires_grad, 'no gradient may cross a layer'
        assert passed.positive.isfinite().all()
        losses.append(figures.loss)
    return losses


def accuracy(layer: Layer, batches: Batches) -> float:
    data = batches.dataset
    passed, scores = layer.evaluate(Batch(data.x_test))
    assert passed.positive.shape[1:] == layer.shape.passed_shape
    return (scores.argmax(1) == data.y_test).float().mean().item()
