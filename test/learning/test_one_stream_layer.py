# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What one-stream layers are made of, and when they learn."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from layers_on_digits import CPU, LAYERS, digits, run_of, train

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.learning.one_stream_layer import SHOWN_SAMPLES
from dff_nodes.learning.rules.local_rule import Step
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.torchvision_parts import build_parts, pool_before_relu, settle_in_place
from dff_nodes.seeds import generator

CONV = {'type': 'conv', 'channels': 12, 'rule': 'softmax_head'}
CONV_PART = {'type': 'conv', 'channels': 64}
POOL = {'type': 'pool'}
BEGIN = {'skip': 'begin', 'rule': 'block_softmax'}


def layers(*configs: dict[str, Any], **sections: Any) -> list[Layer]:
    run = run_of(*configs, **sections)
    return [make_layer(run, index, CPU) for index in range(len(configs))]


def first_batch() -> Batch:
    batch = digits().batch(0, 0)
    return Batch(batch.images, labels=batch.labels)


def test_a_layer_learns_in_its_epochs_only() -> None:
    (layer,) = layers(LAYERS['dense'] | {'rule': 'softmax_head', 'epochs': [1, 2]})
    batches = digits()
    seen = []
    for epoch in range(3):
        train(layer, batches, range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch))
        seen.append(layer.weights_sha256())
    (fresh,) = layers(LAYERS['dense'] | {'rule': 'softmax_head'})
    assert seen[0] == fresh.weights_sha256(), 'frozen before its first epoch'
    assert seen[1] != seen[0]
    assert seen[2] == seen[1], 'frozen from its last epoch on'
    assert layer.learners['optimizer'].optimizer.steps_done == batches.per_epoch


@pytest.mark.parametrize('rule', ['softmax_head', 'reconstruct'])
def test_a_head_learns_in_epochs_of_its_own(rule: str) -> None:
    """Whether the head's gradient would reach the layer or not."""
    config = LAYERS['dense'] | {'rule': rule, 'epochs': [1, 2], 'head_epochs': [0, 3]}
    (layer,) = layers(config)
    batches, seen = digits(), []
    for epoch in range(4):
        train(layer, batches, range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch))
        seen.append({name: each.clone() for name, each in layer.parameters().items()})
    (fresh,) = layers(config)
    changed = [
        {name for name in now if not torch.equal(before[name], now[name])}
        for before, now in itertools.pairwise([fresh.parameters(), *seen])
    ]
    body, head = ({name for name in seen[0] if name.startswith(part)} for part in ('body', 'rule'))
    assert changed == [head, body | head, head, set()]


def test_a_head_of_a_frozen_layer_sees_what_the_layer_gives_when_asked() -> None:
    """The layer's batch normalisation has running statistics then, as on test data."""
    config = LAYERS['dense'] | {'rule': 'softmax_head', 'epochs': [0, 1], 'head_epochs': [0, 2]}
    (layer,) = layers(config)
    batches = digits()
    train(layer, batches, range(batches.per_epoch))
    batch = first_batch()
    asked = layer.evaluate(batch)[0].positive
    assert torch.equal(layer.train(batch)[0].positive, asked)


def test_a_layer_whose_head_learns_longer_comes_back_to_the_same_bits() -> None:
    config = LAYERS['dense'] | {'rule': 'softmax_head', 'epochs': [0, 1], 'head_epochs': [0, 3]}
    (straight,), (back,) = layers(config), layers(config)
    batches = digits()
    steps = range(batches.per_epoch + 3)
    train(straight, batches, steps)
    back.load_state({name: each.clone() for name, each in straight.state().items()})
    for layer in (straight, back):
        train(layer, batches, range(steps.stop, steps.stop + 3))
    assert straight.weights_sha256() == back.weights_sha256()
    moments = straight.moments()
    assert moments['optimizer.steps_done'] == batches.per_epoch
    assert moments['head_optimizer.steps_done'] == batches.per_epoch + 6


@pytest.mark.parametrize('rule', [{'name': 'reconstruct', 'noise': 0.6}, 'contrast_self'])
def test_running_statistics_are_those_of_what_passes_on(rule: Any) -> None:
    """And not of the inputs that a rule makes to learn by."""
    (layer,) = layers(LAYERS['dense'] | {'rule': rule, 'normalization': 'batch'})
    (plain,) = layers(LAYERS['dense'] | {'rule': 'softmax_head', 'normalization': 'batch'})
    for each in (layer, plain):
        each.train(first_batch())
    ours, theirs = (
        {name: each for name, each in made.state().items() if 'running' in name}
        for made in (layer, plain)
    )
    assert len(ours) == 2
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_rule_that_applies_its_layer_again_has_what_is_carried_added_too() -> None:
    conv = CONV | {'channels': 6}
    rule = {'name': 'reconstruct', 'noise': 1e-7}
    noisy, exact = (
        layers(conv | {'skip': 'begin'}, conv | {'skip': 'add', 'rule': each})
        for each in (rule, 'reconstruct')
    )
    (first, layer), (_, plain) = noisy, exact
    batch = first_batch()
    arrived, _ = first.train(batch)
    losses = [each.train(arrived)[1].loss for each in (layer, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize('rule', ['softmax_head', 'pred_sim'])
def test_an_auxiliary_network_teaches_the_layer_and_nothing_passes_through_it(rule: str) -> None:
    parts = [{'type': 'conv', 'channels': 6, 'pool': 2, 'activation': 'gelu'}]
    (layer,) = layers(CONV | {'rule': rule, 'auxiliary': parts})
    (plain,) = layers(CONV | {'rule': rule})
    batch = first_batch()
    assert layer.shape.judged_shape == (4, 4, 6)
    assert layer.shape.output_shape == plain.shape.output_shape
    assert torch.equal(layer.evaluate(batch)[0].positive, plain.evaluate(batch)[0].positive)
    # The head begins at zero, and so do gradients: of the second step all have one.
    train(layer, digits(), range(1))
    before = {name: each.clone() for name, each in layer.parameters().items()}
    assert {name.partition('.')[0] for name in before} == {'body', 'auxiliary', 'rule'}
    train(layer, digits(), range(1, 2))
    after = layer.parameters()
    assert all(not torch.equal(before[name], after[name]) for name in before)

    passed, scores = layer.evaluate(batch)
    with torch.no_grad():
        judged = layer.auxiliary(passed.positive.permute(0, 3, 1, 2))
        assert torch.allclose(scores, layer.rule.scores(judged), atol=1e-6)


def test_an_auxiliary_network_learns_when_the_layer_does() -> None:
    """And not in the epochs in which the head alone goes on."""
    parts = [{'type': 'dense', 'units': 20, 'normalization': 'batch'}]
    config = LAYERS['dense'] | {'rule': 'softmax_head', 'auxiliary': parts}
    (layer,) = layers(config | {'epochs': [0, 1], 'head_epochs': [0, 2]})
    batches = digits()
    train(layer, batches, range(batches.per_epoch))
    before = {name: each.clone() for name, each in layer.learned().items()}
    train(layer, batches, range(batches.per_epoch, batches.per_epoch + 3))
    changed = {
        name for name, each in layer.learned().items() if not torch.equal(each, before[name])
    }
    assert changed == {'rule.head.weight', 'rule.head.bias'}


@pytest.mark.parametrize('kind', ['dense', 'conv'])
def test_a_layer_that_stopped_is_judged_by_some_samples_and_passes_on_all(kind: str) -> None:
    (layer,) = layers(LAYERS[kind] | {'rule': 'softmax_head', 'epochs': [0, 1]})
    batches = digits()
    train(layer, batches, range(batches.per_epoch))
    batch = first_batch()
    passed, figures = layer.train(batch)
    assert passed.samples == batch.samples > SHOWN_SAMPLES
    assert torch.equal(passed.positive, layer.evaluate(batch)[0].positive)
    few = Batch(batch.positive[:SHOWN_SAMPLES], labels=batch.labels[:SHOWN_SAMPLES])
    scores = layer.evaluate(few)[1]
    true = scores.gather(1, few.labels[:, None]).mean()
    assert figures.positive_goodness == pytest.approx(true.item(), rel=1e-5)
    assert figures.loss == pytest.approx(-true.item(), rel=1e-5), 'scores are log-probabilities'
    assert figures.learning_rate == 0


def test_dropout_is_of_what_passes_on_and_differs_from_step_to_step() -> None:
    (layer,) = layers(LAYERS['dense'] | {'rule': 'softmax_head', 'dropout': 0.5, 'epochs': [5, 6]})
    (plain,) = layers(LAYERS['dense'] | {'rule': 'softmax_head', 'epochs': [5, 6]})
    batch = first_batch()
    one, other = (layer.train(batch)[0].positive for _ in range(2))
    whole = plain.train(batch)[0].positive
    kept = one != 0
    assert not torch.equal(one, other)
    assert torch.allclose(one[kept], 2 * whole[kept])
    assert 0.4 < 1 - kept[whole != 0].float().mean() < 0.6
    assert torch.equal(layer.evaluate(batch)[0].positive, plain.evaluate(batch)[0].positive)


@pytest.mark.parametrize(
    'rule',
    [
        'block_goodness',
        'cascade',
        'channel_competition',
        'contrastive',
        'mean_goodness',
        'pred_sim',
        'prototype',
        'reconstruct',
        'spatial_goodness',
    ],
)
def test_gradients_come_in_the_order_in_which_maps_lie_in_memory(rule: str) -> None:
    """Batch normalisation takes several times as long for another order than its input's."""
    (layer,) = layers(CONV | {'rule': rule, 'channels': 20, 'order': 'activation_norm'})
    found: list[tuple[torch.Tensor, ...]] = []
    last = list(layer.body.modules())[-1]
    last.register_full_backward_hook(lambda _module, _inputs, outputs: found.append(outputs))
    layer.train(first_batch())
    assert isinstance(last, torch.nn.BatchNorm2d)
    (gradient,) = found[-1]
    assert gradient.is_contiguous(memory_format=torch.channels_last), gradient.stride()


@pytest.mark.parametrize(
    'config',
    [
        CONV | {'rule': 'mean_goodness', 'channels': 20},
        {'units': 50, 'normalization': 'layer', 'rule': 'softmax_head'},
        {'type': 'torchvision', 'parts': ['stem', 'layer1.0'], 'rule': 'block_softmax'},
    ],
    ids=['conv', 'dense', 'block'],
)
def test_bfloat16_rounds_what_is_computed_but_no_state(config: dict[str, Any]) -> None:
    training = {'optimizer': {'name': 'muon', 'learning_rate': 0.02}}
    (exact,) = layers(config, training=training)
    (rounded,) = layers(config, training=training, compute={'precision': 'bfloat16'})
    batch = first_batch()
    (wanted, _), (passed, _) = exact.train(batch), rounded.train(batch)
    difference = (passed.positive.float() - wanted.positive.float()).norm()
    assert 0 < difference < 0.03 * wanted.positive.float().norm()
    assert not torch.equal(exact.evaluate(batch)[1], rounded.evaluate(batch)[1])
    assert {tensor.dtype for tensor in rounded.parameters().values()} == {torch.float32}
    floats = [each for each in rounded.moments().values() if each.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}


@pytest.mark.parametrize(
    'rule', [{'name': 'softmax_head', 'hidden': 16}, 'pred_sim', 'reconstruct'], ids=str
)
@pytest.mark.parametrize('kind', ['dense', 'conv'])
def test_bfloat16_is_for_what_a_rule_multiplies_too(rule: Any, kind: str) -> None:
    config = LAYERS[kind] | {'rule': rule}
    (exact,) = layers(config)
    (rounded,) = layers(config, compute={'precision': 'bfloat16'})
    own, _ = exact._parted(exact._arrived(first_batch()))
    labels = first_batch().labels
    output = exact.body(own).detach().requires_grad_()
    with torch.no_grad():
        # Class heads begin at 0, where what is before them does not matter.
        for layer in (exact, rounded):
            layer.rule.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    losses = [
        layer.rule.loss(Step(layer.body, own, output, labels, 0))[0] for layer in (exact, rounded)
    ]
    assert losses[0] != losses[1]
    assert torch.allclose(*losses, rtol=0.03)
    assert losses[1].dtype == torch.float32


def test_precision_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ConfigError, match=r"precision must be 'float32' for rules of positive"):
        layers({'units': 20, 'rule': 'swish'}, compute={'precision': 'auto'})


def test_a_single_sample_does_not_stop_batch_normalisation() -> None:
    (layer,) = layers(LAYERS['dense'] | {'rule': 'softmax_head'})
    batch = first_batch()
    passed, figures = layer.train(Batch(batch.positive[:1], labels=batch.labels[:1]))
    assert passed.positive.isfinite().all()
    assert figures.loss > 0


def test_running_statistics_are_part_of_the_state_and_of_the_digest() -> None:
    (layer,) = layers(LAYERS['conv'] | {'rule': 'softmax_head'})
    names = [name for name in layer.state() if 'running_mean' in name]
    assert names
    before = layer.weights_sha256()
    with torch.no_grad():
        layer.learned()[names[0]].add_(1)
    assert layer.weights_sha256() != before


def test_a_skip_is_carried_in_the_message_and_added() -> None:
    begin, carry, add = layers(
        CONV | {'skip': 'begin'}, CONV | {'skip': 'carry', 'pool': 2}, CONV | {'skip': 'add'}
    )
    batch = first_batch()
    with torch.no_grad():
        first, _ = begin.evaluate(batch)
        second, _ = carry.evaluate(first)
        third, _ = add.evaluate(second)
        assert first.positive.shape[1:] == (8, 8, 13)
        assert second.positive.shape[1:] == (4, 4, 13)
        assert third.positive.shape[1:] == (4, 4, 12)
        images = begin._arrived(batch)
        assert torch.equal(first.positive[..., 12:], images.permute(0, 2, 3, 1))
        carried = torch.nn.functional.avg_pool2d(images, 2)
        plain = add.body(second.positive[..., :12].permute(0, 3, 1, 2))
        wanted = plain + torch.nn.functional.pad(carried, (0, 0, 0, 0, 0, 11))
    assert torch.allclose(third.positive, wanted.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize('mode', ['max', 'average'])
def test_a_layer_may_pool_alone_and_its_head_learns(mode: str) -> None:
    (layer,) = layers(POOL | {'mode': mode, 'rule': 'softmax_head', 'skip': 'begin'})
    assert layer.shape.parameters == layer.shape.head_parameters == 4 * 4 * 10 + 10
    assert {name.partition('.')[0] for name in layer.parameters()} == {'rule'}
    figures = [layer.train(first_batch())[1] for _ in range(30)]
    assert figures[-1].loss < figures[0].loss
    pool = torch.nn.functional.max_pool2d if mode == 'max' else torch.nn.functional.avg_pool2d
    passed = layer.evaluate(first_batch())[0].positive
    images = layer._arrived(first_batch())
    assert torch.equal(passed[..., :1], pool(images, 2).permute(0, 2, 3, 1))


@pytest.mark.parametrize(
    'last',
    [
        {'type': 'block', 'parts': [CONV_PART, POOL, CONV_PART]},
        {'type': 'torchvision', 'parts': ['layer1.0', 'layer2.0']},
    ],
)
def test_what_was_carried_is_added_behind_a_block(last: dict[str, Any]) -> None:
    begin, add = layers(
        {'type': 'block', 'parts': [CONV_PART], 'skip': 'begin', 'rule': 'block_softmax'},
        last | {'skip': 'add', 'rule': 'block_softmax'},
    )
    batch = first_batch()
    with torch.no_grad():
        first, _ = begin.evaluate(batch)
        assert first.positive.shape[1:] == (8, 8, 65)
        second, _ = add.evaluate(first)
        plain = add.body(first.positive[..., :64].permute(0, 3, 1, 2))
        carried = torch.nn.functional.avg_pool2d(begin._arrived(batch), 2)
        plain[:, :1] += carried
    assert torch.allclose(second.positive, plain.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(
    ('configs', 'said'),
    [
        (
            [{'type': 'block', 'parts': [{'type': 'dense'}]} | BEGIN],
            r"network\[0\].skip must be 'none' for a layer that gives 500 features.*got 'begin'",
        ),
        ([CONV | {'skip': 'add'}], 'nothing travels beside its input'),
        ([CONV, CONV | {'stem': 'whiten'}], 'it is for layer 0 only'),
        ([LAYERS['dense'] | {'rule': 'softmax_head'}, CONV], 'needs maps'),
        ([CONV | {'skip': 'begin', 'padding': 0}], 'averaged over whole pixels'),
        ([CONV | {'pool': 9}], r'network\[0\].pool must be at most 8'),
        ([CONV | {'groups': 5}], r'network\[0\].groups must divide'),
        ([CONV | {'rule': 'swish'}], "normalization must be 'none'"),
        ([CONV | {'rule': 'pred_sim', 'pool': 8}], 'more than one pixel, got maps of 1 x 1'),
        ([CONV | {'rule': 'prototype', 'auxiliary': [POOL]}], 'left out for the rule prototype'),
        ([CONV | {'rule': 'swish', 'auxiliary': [POOL]}], 'it is for softmax_head, pred_sim'),
        ([CONV | {'auxiliary': [POOL, POOL | {'size': 5}]}], r'\[0\].auxiliary\[1\].size must be'),
        (
            [LAYERS['dense'] | {'rule': 'softmax_head', 'auxiliary': [POOL]}],
            r'network\[0\].auxiliary\[0\].type needs maps',
        ),
        (
            [{'type': 'torchvision', 'parts': ['layer9'], 'rule': 'block_softmax'}],
            r"network\[0\].parts of resnet18 must be among stem, .*layer4.1, got 'layer9'",
        ),
        (
            [{'type': 'torchvision', 'parts': ['fc'], 'rule': 'block_softmax'}],
            r"must be among stem, conv1, bn1, .*layer4.1, got 'fc'",
        ),
        (
            [{'type': 'torchvision', 'parts': ['layer1'], 'rule': 'block_softmax'}],
            r"parts \['layer1'\] of resnet18 .* of \[8, 8, 1\], but of 64 channels",
        ),
        (
            [{'type': 'conv', 'rule': 'swish'}],
            r"normalization must be 'none'.*\n.*initialization must be 'lecun'.*got 'kaiming'",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(configs: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_of(*configs)


def test_whitening_decorrelates_neighbouring_pixels() -> None:
    (layer,) = layers(CONV | {'stem': 'whiten'})
    batch = first_batch()
    layer.train(batch)
    own, _ = layer._parted(layer._arrived(batch))
    assert own.shape[1:] == (8, 7, 7)
    white = layer.stem(layer._arrived(batch))
    assert torch.allclose(white[:, :4], -white[:, 4:])
    rows = white[:, :4].movedim(1, 3).flatten(0, 2)
    covariance = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(rows)
    assert torch.allclose(covariance, torch.eye(4), atol=0.02)


def test_the_filters_of_the_whitening_are_those_of_the_first_batch() -> None:
    (layer,) = layers(CONV | {'stem': 'whiten'})
    batches = digits()
    train(layer, batches, range(1))
    first = layer.state()['stem.weight'].clone()
    train(layer, batches, range(1, 4))
    assert torch.equal(layer.state()['stem.weight'], first)


def test_a_block_is_trained_as_one() -> None:
    block = {
        'type': 'block',
        'rule': 'block_softmax',
        'parts': [
            {'type': 'conv', 'channels': 8},
            {'type': 'pool'},
            {'type': 'conv', 'channels': 8},
            {'type': 'dense', 'units': 30},
        ],
    }
    (layer,) = layers(block)
    assert layer.shape.passed_shape == (30,)
    before = [each.clone() for each in layer.body.parameters()]
    train(layer, digits(), range(2))
    changed = [
        not torch.equal(*pair) for pair in zip(before, layer.body.parameters(), strict=True)
    ]
    assert all(changed), 'the gradient of the head reaches the first part of the block'


@pytest.mark.parametrize(
    ('network', 'parts', 'shape'),
    [
        ('resnet18', ['stem', 'layer1.0', 'layer2'], (4, 4, 128)),
        ('mobilenet_v3_small', ['features.0', 'features.1'], (2, 2, 16)),
    ],
)
def test_parts_of_torchvisions_networks(
    network: str, parts: list[str], shape: tuple[int, ...]
) -> None:
    config = {'type': 'torchvision', 'network': network, 'parts': parts, 'rule': 'block_goodness'}
    layer, again = (layers(config)[0] for _ in range(2))
    assert layer.shape.passed_shape == shape
    assert layer.weights_sha256() == again.weights_sha256(), 'drawn from the seed alone'
    losses = train(layer, digits(), range(12))
    assert losses[-1] < losses[0]


def test_a_maximum_before_a_relu_is_the_same_as_behind_it() -> None:
    torch.manual_seed(0)
    as_published = build_parts('resnet18', ['stem', 'maxpool', 'layer1.0'], 'parts', 3)
    settle_in_place(as_published)
    swapped = copy.deepcopy(as_published)
    pool_before_relu(swapped)
    kinds = [[type(each) for each in parts.modules()] for parts in (as_published, swapped)]
    assert kinds[0] != kinds[1]
    assert list(swapped.state_dict()) == list(as_published.state_dict())
    results = []
    for parts in (as_published, swapped):
        x = torch.randn(8, 3, 11, 11, generator=generator(0, 'maps')).requires_grad_()
        given = parts(x)
        given.square().sum().backward()
        results.append([given, x.grad, *(each.grad for each in parts.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize(('position', 'amplitude'), [('overwrite', 4), ('planes', 0.5)])
def test_two_streams_through_convolutions(position: str, amplitude: float) -> None:
    conv = {'type': 'conv', 'channels': 12, 'normalization': 'none', 'rule': 'swish'}
    conv |= {'initialization': 'lecun'}
    data = {'label': {'position': position, 'amplitude': amplitude}}
    first, second = layers(conv | {'pool': 2}, conv, data=data)
    batches = digits()
    separations = []
    for step in range(4 * batches.per_epoch):
        batch = batches.batch(*divmod(step, batches.per_epoch))
        wrong = (batch.labels + 1 + step % 9) % 10
        pair = Batch(batch.images, labels=batch.labels, negative_labels=wrong)
        passed, figures = first.train(pair)
        assert passed.positive.shape == (len(batch.labels), 4, 4, 12)
        assert torch.allclose(passed.positive.square().mean((1, 2, 3)), torch.ones(1), atol=1e-3)
        passed, _ = second.train(passed)
        assert passed.positive.shape == (len(batch.labels), 4, 4, 12)
        separations.append(figures.separation)
    assert sum(separations[-10:]) > sum(separations[:10])
    passed, scores = first.evaluate(Batch(batches.dataset.x_test[:7]))
    assert scores.shape == (7, 10)
    assert passed.positive.shape == (70, 4, 4, 12)
