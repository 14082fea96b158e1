# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Settings that decide nothing are told, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import check_config, to_yaml
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.unused_settings import unused_settings

HEAD = {'units': 30, 'rule': 'softmax_head'}
CONV = {'type': 'conv', 'channels': 10, 'rule': 'softmax_head'}
SWISH = {'units': 30, 'rule': 'swish'}


def unused(*network: dict[str, Any], **sections: Any) -> list[str]:
    config = check_config({'network': list(network), **sections}, 'test')
    resolved = resolve(config, read_facts(config.data))
    return [each.partition(' has no effect ')[0] for each in unused_settings(resolved)]


@pytest.mark.parametrize(
    ('network', 'sections', 'said'),
    [
        ([HEAD], {'training': {'negatives': {'mode': 'fixed'}}}, 'training.negatives.mode'),
        ([HEAD], {'training': {'readout': {'neutral': 0.2}}}, 'training.readout.neutral'),
        ([HEAD], {'data': {'label': {'amplitude': 4}}}, 'data.label.amplitude'),
        ([SWISH], {'training': {'negatives': {'pick': 'hardest'}}}, 'training.negatives.pick'),
        (
            [SWISH],
            {'training': {'negatives': {'mode': 'adaptive', 'lag_chapters': 2}}},
            'training.negatives.lag_chapters',
        ),
        ([SWISH], {'training': {'readout': {'neutral': 0.2}}}, 'training.readout.neutral'),
        (
            [SWISH],
            {
                'data': {'label': {'amplitude': 4}},
                'training': {'negatives': {'mode': 'hybrid'}},
                'classification': {'mode': 'one_pass'},
            },
            'data.label.amplitude',
        ),
        ([HEAD], {'data': {'shift_fill': 'edge'}}, 'data.shift_fill'),
        (
            [HEAD],
            {'training': {'optimizer': {'name': 'adam', 'momentum': 0.5}}},
            'training.optimizer.momentum',
        ),
        (
            [HEAD | {'optimizer': {'name': 'muon', 'head': {'name': 'adam', 'momentum': 0.5}}}],
            {},
            'network[0].optimizer.head.momentum',
        ),
        (
            [HEAD | {'rule': 'mean_goodness', 'optimizer': {'head': 'sgd'}}],
            {},
            'network[0].optimizer.head',
        ),
        ([SWISH], {'training': {'optimizer': {'head': 'sgd'}}}, 'training.optimizer.head'),
        ([CONV | {'norm_groups': 5}], {}, 'network[0].norm_groups'),
        (
            [CONV | {'auxiliary': [{'type': 'conv', 'channels': 4, 'norm_groups': 2}]}],
            {},
            'network[0].auxiliary[0].norm_groups',
        ),
        (
            [HEAD | {'rule': {'name': 'softmax_head', 'head_inputs': 40}}],
            {},
            'network[0].rule.head_inputs',
        ),
        (
            [HEAD | {'rule': {'name': 'block_goodness', 'kernel': 3}}],
            {},
            'network[0].rule.kernel',
        ),
        (
            [CONV | {'rule': {'name': 'spatial_goodness', 'patches': 9}}],
            {},
            'network[0].rule.patches',
        ),
        ([HEAD, HEAD | {'dropout': 0.2}], {}, 'network[1].dropout'),
        ([CONV | {'skip': 'begin'}, CONV], {}, 'network[0].skip'),
        ([CONV | {'skip': 'begin'}, CONV | {'skip': 'carry'}, HEAD], {}, 'network[0].skip'),
        ([CONV | {'skip': 'begin'}], {}, 'network[0].skip'),
        (
            [HEAD],
            {'schedule': 'sequential', 'stream': {'window_items': 3}},
            'stream.window_items',
        ),
    ],
)
def test_what_decides_nothing_is_told(
    network: list[dict[str, Any]], sections: dict[str, Any], said: str
) -> None:
    assert unused(*network, **sections) == [said]


@pytest.mark.parametrize(
    ('network', 'sections'),
    [
        ([HEAD | {'dropout': 0.2}, HEAD | {'dropout': 0.2}], {}),
        ([CONV | {'skip': 'begin'}, CONV | {'skip': 'carry'}, CONV | {'skip': 'add'}], {}),
        ([CONV | {'rule': {'name': 'spatial_goodness', 'patches': 8}}], {}),
        ([CONV | {'rule': {'name': 'softmax_head', 'head_inputs': 40}}], {}),
        ([CONV | {'normalization': 'group', 'norm_groups': 5}], {}),
        ([HEAD], {'data': {'shift_fill': 'edge', 'rotate_degrees': 5}}),
        (
            [SWISH],
            {
                'training': {
                    'negatives': {'mode': 'adaptive', 'pick': 'hardest', 'lag_batches': 4},
                    'readout': {'neutral': 0.2},
                }
            },
        ),
        (
            [HEAD, HEAD | {'rule': 'mean_goodness'}],
            {'training': {'optimizer': {'name': 'muon', 'momentum': 0.8, 'head': 'sgd'}}},
        ),
    ],
)
def test_what_decides_something_is_not(
    network: list[dict[str, Any]], sections: dict[str, Any]
) -> None:
    assert unused(*network, **sections) == []


def test_a_file_that_says_every_default_has_nothing_to_be_told_of() -> None:
    tree = yaml.safe_load(to_yaml(check_config({'network': [CONV, HEAD]}, 'test')))
    assert unused(*tree.pop('network'), **tree) == []
