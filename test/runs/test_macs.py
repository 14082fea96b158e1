# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Operations of an evaluation, against what PyTorch is asked to multiply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.config import Config
from dff_nodes.runs.macs import layer_macs, mean_macs
from dff_nodes.runs.resolve import ResolvedRun, resolve

CONV = {'type': 'conv', 'channels': 20, 'rule': 'softmax_head'}
PLAIN = {'normalization': 'none', 'initialization': 'lecun', 'rule': 'swish'}
HIDDEN = {'name': 'softmax_head', 'hidden': 12, 'head_inputs': 50}
ONE_PASS = {'classification': {'mode': 'one_pass'}}
PLANES = {'data': {'label': {'position': 'planes'}}}
NETWORKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    'two streams': ([{'units': 30}, {'units': 20}], {}),
    'label before the pixels': ([{'units': 30}], {'data': {'label': {'position': 'prepend'}}}),
    'one pass': ([{'units': 30}, {'units': 20}], ONE_PASS),
    'hybrid': ([{'units': 30}], ONE_PASS | {'training': {'negatives': {'mode': 'hybrid'}}}),
    'two streams of maps': ([CONV | PLAIN, CONV | PLAIN | {'pool': 2}], PLANES),
    'maps': ([CONV | {'stem': 'whiten'}, CONV | {'pool': 2, 'groups': 4}], {}),
    'auxiliary convolution': ([CONV | {'rule': {'name': 'block_goodness', 'kernel': 3}}], {}),
    'heads with a hidden layer': (
        [CONV | {'rule': HIDDEN}, {'units': 30, 'rule': HIDDEN}],
        {},
    ),
    'auxiliary network': (
        [
            CONV | {'auxiliary': [{'type': 'conv', 'channels': 6, 'stride': 2}, {'type': 'pool'}]},
            {'units': 30, 'rule': 'softmax_head', 'auxiliary': [{'type': 'dense', 'units': 9}]},
        ],
        {},
    ),
    'patches': ([CONV | {'rule': 'spatial_goodness'}], {}),
    'block': ([{'type': 'block', 'parts': [{'units': 9, 'type': 'dense'}] * 2}], {}),
    'block behind a stem': (
        [{'type': 'block', 'stem': 'whiten', 'parts': [{'type': 'conv', 'channels': 7}]}],
        {},
    ),
    'pool': ([{'type': 'pool', 'rule': 'softmax_head'}, CONV], {}),
    'torchvision': ([{'type': 'torchvision', 'parts': ['stem'], 'network': 'resnet18'}], {}),
}


def a_run(network: list[dict[str, Any]], settings: dict[str, Any]) -> ResolvedRun:
    facts = DataFacts((8, 8, 1), 5, 200, 8, 255.0, 'uint8')
    if 'parts' in network[0]:
        network = [layer | {'rule': 'softmax_head'} for layer in network]
    return resolve(Config.model_validate({'network': network} | settings), facts)


@pytest.mark.parametrize(('network', 'settings'), NETWORKS.values(), ids=NETWORKS)
def test_they_are_what_pytorch_multiplies(
    network: list[dict[str, Any]], settings: dict[str, Any]
) -> None:
    run = a_run(network, settings)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 8, 8, 1), generator=random, dtype=torch.uint8)
    batch = Batch(images)
    for index in range(len(run.layers)):
        layer = make_layer(run, index, torch.device('cpu'))
        with FlopCounterMode(display=False) as counter:
            batch, _ = layer.evaluate(batch)
        # A dense layer 0 of two streams multiplies the one-hot labels once for a whole batch, and
        # scales the outcome for each sample, which PyTorch does not count.
        dense = network[0].get('type', 'dense') == 'dense'
        tolerance = 5 * run.layers[0].units if index == 0 and dense else 0
        counted = counter.get_total_flops() / 2 / 4
        assert abs(layer_macs(run, index) - counted) <= tolerance, index


def test_the_mean_is_over_the_samples() -> None:
    assert mean_macs([10, 20, 30], [2, 1, 1]) == (2 * 10 + 30 + 60) / 4
