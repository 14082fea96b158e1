# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every rule of one stream: that it learns real digits, its state, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layers_on_digits import accuracy, digits, one_layer, run_of, train
from torch import nn

from dff_nodes.learning.batch import Batch
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.rules import BUILT_IN, ClassNodesRule, rules

ONE_STREAM = sorted(
    rule.model_fields['name'].default
    for rule in BUILT_IN
    if rule.streams == 1 and rule is not ClassNodesRule
)
"""but for the rule of graph layers, see test_class_nodes.py"""
MAPS_ONLY = ('spatial_goodness',)
AnyRule = str | dict[str, Any]
HIDDEN: AnyRule = {'name': 'softmax_head', 'hidden': 24, 'head_inputs': 150}
AUXILIARY = {
    'dense': [{'type': 'dense', 'units': 30, 'normalization': 'batch'}],
    'conv': [
        {'type': 'conv', 'channels': 16},
        {'type': 'pool', 'mode': 'average'},
        {'type': 'conv', 'channels': 8, 'normalization': 'group'},
    ],
}
CASES = [
    pytest.param(rule, kind, id=f'{name}-{kind}')
    for name, rule in [(rule, rule) for rule in ONE_STREAM] + [('hidden', HIDDEN)]
    for kind in ('dense', 'conv')
    if kind == 'conv' or name not in MAPS_ONLY
]

WITH_AUXILIARY = [
    pytest.param(rule, kind, AUXILIARY[kind], id=f'{rule}-{kind}-auxiliary')
    for rule in ONE_STREAM
    for kind in ('dense', 'conv')
    if rules()[rule].takes_auxiliary
]
MADE = [pytest.param(*case.values, [], id=case.id) for case in CASES] + WITH_AUXILIARY


@pytest.mark.parametrize(('rule', 'kind'), CASES)
def test_a_layer_learns_real_digits(rule: AnyRule, kind: str) -> None:
    layer, batches = one_layer(rule, kind), digits()
    before = accuracy(layer, batches)
    losses = train(layer, batches, range(4 * batches.per_epoch))
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < sum(losses[:tenth])
    # A first convolution of goodness sees single strokes only; chance is 0.1.
    assert accuracy(layer, batches) > max(0.25, before)


@pytest.mark.parametrize(('rule', 'kind', 'auxiliary'), MADE)
def test_a_layer_goes_on_from_its_state_as_if_it_had_not_stopped(
    rule: AnyRule, kind: str, auxiliary: list[dict[str, Any]]
) -> None:
    optimizer = {'name': 'muon', 'learning_rate': 0.05}
    settings = {'dropout': 0.2, 'optimizer': optimizer, 'auxiliary': auxiliary}
    whole, first, second = (one_layer(rule, kind, **settings) for _ in range(3))
    batches = digits()
    train(whole, batches, range(12))
    train(first, batches, range(5))
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    train(second, batches, range(5, 12))
    assert second.weights_sha256() == whole.weights_sha256()
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, second.state()[name]), name


@pytest.mark.parametrize(('rule', 'kind', 'auxiliary'), MADE)
def test_the_parameters_are_counted_right(
    rule: AnyRule, kind: str, auxiliary: list[dict[str, Any]]
) -> None:
    layer = one_layer(rule, kind, auxiliary=auxiliary)
    modules = nn.ModuleList([layer.body, layer.rule])
    own = nn.ModuleList([layer.body])
    if auxiliary:
        modules.append(layer.auxiliary)
        own.append(layer.auxiliary)
    assert layer.shape.parameters == sum(each.numel() for each in modules.parameters())
    matrices = [each for each in own.parameters() if each.dim() > 1]
    assert layer.shape.matrix_parameters == sum(each.numel() for each in matrices)
    assert layer.shape.head_parameters == sum(each.numel() for each in layer.rule.parameters())


def test_cascade_with_random_features_leaves_the_layer_as_it_was() -> None:
    layer, batches = one_layer({'name': 'cascade', 'features': 'random'}, 'conv'), digits()
    before = [each.clone() for each in layer.body.parameters()]
    train(layer, batches, range(2 * batches.per_epoch))
    assert all(torch.equal(*pair) for pair in zip(before, layer.body.parameters(), strict=True))
    assert accuracy(layer, batches) > 0.8


@pytest.mark.parametrize('rule', ['contrast_self', 'reconstruct', 'contrastive'])
def test_the_read_out_does_not_teach_the_layer(rule: str) -> None:
    """Other labels change the read-out of an unsupervised rule, and nothing else."""
    one, other = (one_layer(rule, 'dense') for _ in range(2))
    batch = digits().batch(0, 0)
    one.train(Batch(batch.images, labels=batch.labels))
    other.train(Batch(batch.images, labels=batch.labels.flip(0)))
    same = all(
        torch.equal(*pair)
        for pair in zip(one.body.parameters(), other.body.parameters(), strict=True)
    )
    assert same == (rule != 'contrastive'), 'contrastive learning is supervised'
    assert one.weights_sha256() != other.weights_sha256()


@pytest.mark.parametrize(
    ('layer', 'said'),
    [
        (
            {'rule': 'mean_goodness', 'units': 33},
            r'network\[0\].units must give a multiple of 10 .*, got 33: try 30 or 40',
        ),
        (
            {'rule': 'channel_competition', 'type': 'conv', 'channels': 7},
            r'network\[0\].channels must give a multiple of 10 .*, got 7: try 10',
        ),
        ({'rule': 'spatial_goodness', 'units': 33}, 'needs maps.*got 33 features of type: dense'),
        (
            {'rule': {'name': 'block_softmax', 'movement': 0.3}, 'units': 33},
            r'movement must be 0 for a layer that takes \[8, 8, 1\] and gives \[33\].*got 0.3',
        ),
        ({'rule': {'name': 'block_goodness', 'kernel': 2}}, 'must be odd'),
        ({'rule': 'softmax_hed'}, "'softmax_head'"),
        ({'rule': 'softmax_head', 'epochs': [6, 9]}, 'must begin before training.epochs'),
        ({'rule': 'softmax_head', 'head_epochs': [6, 9]}, 'head_epochs must begin before'),
        ({'rule': 'softmax_head', 'head_epochs': [2, 2]}, r'0 <= first < end, got .2, 2.'),
        ({'rule': 'softmax_head', 'head_epochs': [1, 2]}, 'must not begin after epoch 0'),
        ({'rule': 'channel_competition', 'head_epochs': [0, 2]}, 'head_epochs must be left out'),
        (
            {'rule': {'name': 'channel_competition', 'label_smoothing': 0.1}},
            "label_smoothing is for predictor 'softmax', got 0.1",
        ),
        ({'rule': 'softmax_head', 'optimizer': {'head': 'muon'}}, 'head has parameters'),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(layer: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_of(layer)


@pytest.mark.parametrize(
    ('layer', 'said'),
    [
        ({'rule': 'mean_goodness', 'units': 10}, 'at least 20 channels.*got 10: .* of one class'),
        ({'rule': 'spatial_goodness', 'type': 'conv', 'channels': 1}, 'got 1: .* each pixel'),
        (
            {'rule': 'reconstruct', 'type': 'conv', 'channels': 1, 'pool': 8},
            'got 1: .* each sample',
        ),
    ],
)
def test_a_layer_that_would_pass_on_zeros_alone_is_refused(
    layer: dict[str, Any], said: str
) -> None:
    run_of(layer)
    with pytest.raises(ConfigError, match=said):
        run_of(layer, {'units': 20, 'rule': 'softmax_head'})


def test_contrast_self_takes_no_skip() -> None:
    conv = {'type': 'conv', 'channels': 4, 'rule': 'contrast_self'}
    run_of(conv | {'skip': 'begin'}, conv | {'skip': 'carry'})
    with pytest.raises(ConfigError, match=r"network\[1\].skip must not be 'add'"):
        run_of(conv | {'skip': 'begin'}, conv | {'skip': 'add'})


def test_rules_of_one_and_of_two_streams_do_not_mix() -> None:
    with pytest.raises(ConfigError, match='choose rules of one kind'):
        run_of({'rule': 'swish'}, {'rule': 'softmax_head'})
