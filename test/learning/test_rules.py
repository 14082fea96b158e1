# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every rule of one stream: its formula, that it learns real digits, and its state."""

from __future__ import annotations

import math
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from layers_on_digits import accuracy, digits, one_layer, run_of, train
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.config_file import ConfigError
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


def made_rule(
    name: str, output_shape: tuple[int, ...], classes: int = 3, **settings: Any
) -> LocalRule:
    rule = rules()[name](**settings)
    setting = Setting(rule, (5,), output_shape, classes, seed=0, index=0)
    made = resolve_name(rule.implementation)(setting)
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.normal_(generator=torch.Generator().manual_seed(index))
    return made


def step_of(output: Tensor, labels: Tensor, features: Tensor | None = None) -> Step:
    inputs = torch.zeros(len(output), 5) if features is None else features
    return Step(nn.Identity(), inputs, output, labels, 0)


def maps(samples: int = 4, channels: int = 6) -> Tensor:
    drawn = torch.randn(samples, channels, 4, 4, generator=torch.Generator().manual_seed(1))
    return drawn.requires_grad_()


LABELS = torch.tensor([0, 2, 1, 2])


def cross_entropy_by_hand(scores: Tensor, labels: Tensor) -> Tensor:
    """-g_y + log sum exp g, as 2501.03176 writes it."""
    true = scores[torch.arange(len(labels)), labels]
    return (-true + scores.exp().sum(1).log()).mean()


@pytest.mark.parametrize(('name', 'power'), [('channel_competition', 2), ('mean_goodness', 1)])
def test_channel_groups(name: str, power: int) -> None:
    output = maps()
    groups = torch.stack(
        [output[:, 2 * k : 2 * k + 2].pow(power).mean((1, 2, 3)) for k in range(3)]
    )
    loss, scores = made_rule(name, (4, 4, 6)).loss(step_of(output, LABELS))
    assert torch.allclose(loss, cross_entropy_by_hand(groups.T, LABELS))
    assert torch.allclose(scores, groups.T.log_softmax(1))


@pytest.mark.parametrize(('name', 'power'), [('channel_competition', 2), ('mean_goodness', 1)])
def test_channel_groups_have_a_temperature(name: str, power: int) -> None:
    output = maps()
    plain, sure = (made_rule(name, (4, 4, 6), temperature=t) for t in (1.0, 0.1))
    loss, scores = sure.loss(step_of(output, LABELS))
    groups = torch.stack(
        [output[:, 2 * k : 2 * k + 2].pow(power).mean((1, 2, 3)) for k in range(3)]
    ).T
    assert torch.allclose(scores, (10 * groups).log_softmax(1), atol=1e-5)
    assert torch.allclose(loss, cross_entropy_by_hand(10 * groups, LABELS))
    assert torch.equal(sure.scores(output), scores)
    assert torch.equal(sure.passed(output), plain.passed(output)), 'it changes the answer only'


def test_channel_competition_may_have_a_read_out_that_answers() -> None:
    plain, rule = (
        made_rule('channel_competition', (4, 4, 6), temperature=0.5, **settings)
        for settings in ({}, {'predictor': 'softmax', 'head_inputs': 96})
    )
    output = maps().requires_grad_()
    assert rule.head.in_features == 96, 'all pixels'
    loss, scores = rule.loss(step_of(output, LABELS))
    competition, _ = plain.loss(step_of(output, LABELS))
    assert torch.allclose(loss, competition + cross_entropy_by_hand(scores, LABELS))
    gradients = [torch.autograd.grad(each, output)[0] for each in (loss, competition)]
    assert torch.equal(*gradients), 'the read-out does not teach the layer'
    assert torch.equal(rule.scores(output), scores)


def test_mean_goodness_is_taken_out_of_what_passes_on() -> None:
    rule = made_rule('mean_goodness', (4, 4, 6))
    passed = rule.passed(maps() * 3 + 1)
    for group in range(3):
        part = passed[:, 2 * group : 2 * group + 2].flatten(1)
        assert torch.allclose(part.mean(1), torch.zeros(4), atol=1e-5)
        assert torch.allclose(part.var(1, unbiased=False), torch.ones(4), atol=1e-3)
    assert torch.allclose(rule.scores(passed), torch.full((4, 3), -math.log(3)), atol=1e-5)


def test_block_goodness() -> None:
    rule, output = made_rule('block_goodness', (4, 4, 6)), maps()
    goodness = rule.auxiliary(output).square().mean((2, 3))
    loss, _ = rule.loss(step_of(output, LABELS))
    assert torch.allclose(loss, cross_entropy_by_hand(goodness, LABELS))


def test_softmax_head_averages_maps_over_a_grid() -> None:
    rule, output = made_rule('softmax_head', (4, 4, 6), head_inputs=24), maps()
    assert rule.head.in_features == 24
    cells = output.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    loss, _ = rule.loss(step_of(output, LABELS))
    assert torch.allclose(loss, cross_entropy_by_hand(rule.head(cells), LABELS))


def test_a_hidden_layer_of_the_head_sees_the_grid() -> None:
    rule, output = made_rule('softmax_head', (4, 4, 6), hidden=6, head_inputs=24), maps()
    cells = output.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    seen = nn.functional.gelu(rule.hidden.norm(rule.hidden.map(cells))).flatten(1)
    loss, _ = rule.loss(step_of(output, LABELS))
    assert seen.shape == (4, 24)
    assert torch.allclose(loss, cross_entropy_by_hand(rule.head(seen), LABELS))


def test_pred_sim_matches_similarities() -> None:
    rule = made_rule('pred_sim', (6,), beta=1.0)
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    loss, _ = rule.loss(step_of(output, LABELS))
    features = rule.projection(output)
    targets = torch.eye(3)[LABELS]
    total = 0.0
    for i in range(4):
        for j in range(4):
            ours = cosine_similarity(
                features[i] - features[i].mean(), features[j] - features[j].mean(), dim=0
            )
            wanted = cosine_similarity(
                targets[i] - targets[i].mean(), targets[j] - targets[j].mean(), dim=0
            )
            total += (ours - wanted) ** 2 / 16
    assert torch.allclose(loss, total, atol=1e-5)


def test_prototype_scores_are_cosines() -> None:
    rule = made_rule('prototype', (6,), temperature=0.5)
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    cosines = cosine_similarity(output[:, None], rule.prototypes[None], dim=2)
    loss, _ = rule.loss(step_of(output, LABELS))
    assert torch.allclose(loss, cross_entropy_by_hand(cosines / 0.5, LABELS))
    assert torch.allclose(rule.passed(output).square().mean(1), torch.ones(4), atol=1e-4)


def test_contrastive_is_the_supervised_contrastive_loss() -> None:
    rule = made_rule('contrastive', (6,), temperature=0.5, projection=4)
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    rows = rule.projection(output)
    total = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        logits = {j: cosine_similarity(rows[i], rows[j], dim=0) / 0.5 for j in others}
        log_sum = torch.stack(list(logits.values())).exp().sum().log()
        same = [j for j in others if LABELS[j] == LABELS[i]]
        total -= sum(logits[j] - log_sum for j in same) / max(1, len(same)) / 4
    assert torch.allclose(rule.own_loss(step_of(output, LABELS)), torch.as_tensor(total))


def goodness_of(output: Tensor) -> Tensor:
    return output.clamp_min(0).square().mean(1)


@pytest.mark.parametrize('pairs', ['sum', 'standardized'])
def test_contrast_self_pairs_each_sample_with_itself_and_with_another(pairs: str) -> None:
    rule = made_rule('contrast_self', (6,), theta_positive=2.0, theta_negative=3.0, pairs=pairs)
    inputs = torch.randn(2, 5, generator=torch.Generator().manual_seed(2))
    body = nn.Linear(5, 6)
    loss = rule.own_loss(Step(body, inputs, body(inputs), LABELS[:2], 0))
    both = inputs.sum(0, keepdim=True)
    if pairs == 'sum':
        positive = goodness_of(body(inputs) + body(inputs))
        negative = goodness_of(body(inputs) + body(inputs[[1, 0]]))
    else:
        positive = goodness_of(body(inputs))
        negative = goodness_of(body((both - both.mean()) / both.std(correction=0)))
    wanted = torch.log1p((2 - positive).exp()) + torch.log1p((negative - 3).exp())
    assert torch.allclose(loss, wanted.mean(), atol=1e-5)


def test_contrast_self_pairs_nothing_in_a_layer_that_has_stopped() -> None:
    rule, body = made_rule('contrast_self', (6,)), nn.Linear(5, 6).requires_grad_(False)
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    output = body(inputs)
    loss, _ = rule.loss(Step(nn.Identity(), inputs, output, LABELS, 0))
    logits = rule.head(rule.passed(output))
    assert torch.allclose(loss, cross_entropy_by_hand(logits, LABELS))


def test_contrast_self_passes_on_the_standardised_triangle() -> None:
    rule = made_rule('contrast_self', (6,))
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    triangle = (output - output.mean(1, keepdim=True)).clamp_min(0)
    passed = rule.passed(output)
    assert torch.allclose(passed.mean(1), torch.zeros(4), atol=1e-5)
    for ours, published in zip(passed, triangle, strict=True):
        assert torch.corrcoef(torch.stack((ours, published)))[0, 1] > 0.9999


def test_reconstruct_restores_the_input() -> None:
    rule = made_rule('reconstruct', (6,))
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    loss = rule.own_loss(step_of(output, LABELS, inputs))
    assert torch.allclose(loss, (rule.decoder(output) - inputs).square().mean())


def test_cascade_sends_the_error_back_through_a_fixed_matrix() -> None:
    rule, output = made_rule('cascade', (6,)), torch.randn(4, 6, requires_grad=True)
    loss, scores = rule.loss(step_of(output, LABELS))
    loss.backward()
    logits = rule.head(output.detach())
    assert torch.allclose(loss.detach(), cross_entropy_by_hand(logits, LABELS))
    error = logits.softmax(1) - torch.eye(3)[LABELS]
    assert torch.allclose(output.grad, error @ rule.feedback / 4, atol=1e-6)
    assert torch.allclose(scores.sum(1), torch.ones(4), atol=1e-5), 'probabilities are added up'


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
        ({'rule': 'mean_goodness', 'units': 33}, 'multiple'),
        ({'rule': 'spatial_goodness'}, 'needs maps'),
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


def test_rules_of_one_and_of_two_streams_do_not_mix() -> None:
    with pytest.raises(ConfigError, match='choose rules of one kind'):
        run_of({'rule': 'swish'}, {'rule': 'softmax_head'})
