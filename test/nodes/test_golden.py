# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The golden test: a run over ROS 2 processes equals the reference, bit for bit.

Real processes, real middleware; every loss with every kind of negatives, and what else changes
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from dff_command import Dff, settings
from golden import golden

pytestmark = pytest.mark.ros

LOSSES = ('threshold', 'symba', 'swish')
NEGATIVES = ('fixed', 'random', 'adaptive')
PAIRED = tuple(zip(LOSSES, NEGATIVES, strict=True))


def network(*layers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{'units': 48, **layer} for layer in layers]


def assert_golden(dff: Dff, arguments: list[str], config: str | None = None) -> None:
    """Compare a run over ROS 2 with the reference, and see that something travelled."""
    answer = golden(dff, arguments, config)
    assert all(count > 0 for count in answer['wire_bytes'].values())


@pytest.mark.parametrize(
    ('loss', 'negatives'),
    [
        # Each of both once; all nine pairs take a minute more.
        pytest.param(*pair, marks=[pytest.mark.slow] if pair not in PAIRED else [])
        for pair in product(LOSSES, NEGATIVES)
    ],
)
def test_every_loss_with_every_kind_of_negatives(dff: Dff, loss: str, negatives: str) -> None:
    assert_golden(
        dff,
        settings(
            network=network({'rule': loss}, {'rule': loss}),
            training__epochs=2,
            training__negatives__mode=negatives,
            seed=LOSSES.index(loss) + 10 * NEGATIVES.index(negatives),
        ),
    )


@pytest.mark.parametrize(
    'changed',
    [
        pytest.param({'classification__mode': 'one_pass'}, id='one_pass'),
        pytest.param(
            {
                'stream__dtype': 'float16',
                'training__negatives__mode': 'adaptive',
                'training__negatives__pick': 'hardest',
                'classification__layers': 'without_first',
            },
            id='float16-hardest-without_first',
        ),
        pytest.param(
            {
                'data__shift_pixels': 1,
                'data__label__position': 'prepend',
                'data__label__amplitude': 3.0,
                'training__optimizer': {'name': 'sgd', 'learning_rate': 0.05},
                'training__batch_size': 100,
            },
            id='shift-prepend-sgd-uneven_batches',
        ),
        pytest.param({'stream__dtype': 'uint8', 'classification__mode': 'one_pass'}, id='uint8'),
        pytest.param({'stream__window_items': 1, 'seed': 7}, id='window-of-one'),
        pytest.param(
            {'network': [{'units': 31}], 'data__standardize': True}, id='one-layer-standardized'
        ),
        pytest.param(
            {
                'network': [
                    {'units': 40, 'rule': {'name': 'threshold', 'peer_normalization': 0.03}},
                    {'units': 20, 'rule': {'name': 'swish', 'goodness': 'sum', 'alpha': 0.3}},
                    {'units': 30, 'rule': 'symba', 'optimizer': {'learning_rate': 0.001}},
                    {'units': 24, 'rule': {'name': 'swish', 'peer_normalization': 1.0}},
                ]
            },
            id='four-different-layers',
        ),
    ],
)
def test_whatever_changes_the_arithmetic(dff: Dff, changed: dict[str, Any]) -> None:
    values = {'network': network({}, {}), 'training__epochs': 2, **changed}
    assert_golden(dff, settings(**values))


@pytest.mark.mnist
def test_mnist(dff: Dff, mnist_root: Path) -> None:
    assert_golden(
        dff,
        settings(
            data__root=str(mnist_root),
            training__epochs=1,
            network__1__units=100,
            evaluation__train_samples=500,
        ),
        config=str(Path(__file__).parents[2] / 'config' / 'mnist.yaml'),
    )


def one_stream(*rules: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Layers of all kinds, one for each rule."""
    made = [
        {'type': 'conv', 'channels': 20, 'stem': 'whiten', 'skip': 'begin'},
        {'type': 'conv', 'channels': 20, 'pool': 2, 'skip': 'carry', 'dropout': 0.1}
        | {'normalization': 'group', 'norm_groups': 4},
        {'type': 'conv', 'channels': 20, 'skip': 'add', 'order': 'activation_norm'},
        {'type': 'torchvision', 'network': 'resnet18'}
        | {'parts': ['stem', 'maxpool', 'layer1.0', 'layer2.0']},
        {
            'type': 'block',
            'parts': [
                {'units': 40, 'type': 'dense', 'normalization': 'batch', 'activation': 'gelu'},
                {'units': 40, 'type': 'dense'},
            ],
        },
        {'type': 'dense', 'units': 40, 'normalization': 'layer', 'initialization': 'orthogonal'}
        | {'optimizer': {'name': 'sgd', 'nesterov': True}, 'epochs': [0, 1]}
        | {'head_epochs': [0, 2]},
    ]
    return [layer | {'rule': rule} for layer, rule in zip(made, rules, strict=True)]


@pytest.mark.parametrize(
    'rules',
    [
        (
            {'name': 'mean_goodness', 'temperature': 0.1},
            'spatial_goodness',
            {'name': 'block_softmax', 'movement': 0.2},
        )
        + ('softmax_head', 'contrastive', 'prototype'),
        (
            {'name': 'channel_competition', 'predictor': 'softmax', 'temperature': 0.3},
            'pred_sim',
            'cascade',
        )
        + ('block_goodness', 'reconstruct', {'name': 'contrast_self', 'penalty': 0.1}),
    ],
    ids=['supervised', 'others'],
)
def test_every_rule_of_one_stream(dff: Dff, rules: tuple[str | dict[str, Any], ...]) -> None:
    assert_golden(
        dff,
        settings(
            network=one_stream(*rules),
            training__epochs=2,
            training__optimizer={'name': 'muon', 'learning_rate': 0.05},
            data__flip=True,
            data__shift_pixels=1,
            data__shift_fill='reflect',
            data__cutout_pixels=2,
            data__rotate_degrees=15,
            data__standardize=True,
            stream__dtype='float16',
            classification__layers='last',
        ),
    )


def test_parts_of_mobilenet_behind_a_pooling(dff: Dff) -> None:
    parts = {'type': 'torchvision', 'network': 'mobilenet_v3_small'}
    assert_golden(
        dff,
        settings(
            network=[
                {'type': 'pool', 'mode': 'average', 'rule': 'softmax_head', 'skip': 'begin'},
                parts | {'parts': ['features.0'], 'rule': 'block_goodness', 'skip': 'carry'},
                parts | {'parts': ['features.1'], 'rule': 'block_softmax', 'skip': 'add'},
            ],
            training__epochs=1,
        ),
    )


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_precision(dff: Dff, precision: str) -> None:
    rule = {'rule': {'name': 'softmax_head', 'hidden': 16}}
    conv = {'type': 'conv', 'channels': 12, 'activation': 'gelu', **rule}
    auxiliary = {'type': 'conv', 'channels': 16, 'stride': 2}
    assert_golden(
        dff,
        settings(
            network=[
                # So many channels, and few or some pixels behind them: products (Convolution).
                conv | {'stem': 'whiten', 'channels': 128},
                conv | {'pool': 2, 'channels': 128, 'rule': 'pred_sim', 'auxiliary': [auxiliary]},
                # Its second auxiliary convolution goes over one pixel, most weights over padding.
                # It stops, and is asked of some samples only then.
                conv
                | {'pool': 2, 'rule': 'softmax_head', 'auxiliary': [auxiliary] * 2}
                | {'epochs': [0, 1]},
                {'units': 30, **rule},
            ],
            training__epochs=2,
            training__optimizer={'name': 'muon', 'learning_rate': 0.05},
            stream__dtype='float16',
            compute__precision=precision,
        ),
    )


def test_hybrid_negatives(dff: Dff) -> None:
    assert_golden(
        dff,
        settings(
            network=network({}, {}),
            training__epochs=2,
            training__negatives__mode='hybrid',
            data__standardize=True,
            classification__mode='one_pass',
        ),
    )


def test_two_streams_through_convolutions(dff: Dff) -> None:
    conv = {'type': 'conv', 'channels': 8, 'normalization': 'none', 'initialization': 'lecun'}
    assert_golden(
        dff,
        settings(
            network=[conv | {'pool': 2}, conv],
            training__epochs=1,
            training__negatives__mode='adaptive',
            data__label={'position': 'planes', 'amplitude': 2},
            data__standardize=True,
        ),
    )


def test_a_graph(dff: Dff, save_graph: Callable[..., Path]) -> None:
    layer = {'type': 'graph', 'units': 12}
    assert_golden(
        dff,
        settings(
            data__dataset=str(save_graph()),
            network=[layer | {'dropout': 0.2}, layer | {'aggregation': 'mean'}],
            training__epochs=30,
            evaluation__every_epochs=10,
            stream__dtype='float16',
        ),
    )
