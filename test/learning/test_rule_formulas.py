# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The formula of every rule of one stream, against one written out by hand."""

from __future__ import annotations

import math
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from dff_nodes.learning.rules.local_rule import LocalRule, Setting, Step
from dff_nodes.runs.rules import rules


def made_rule(
    name: str,
    output_shape: tuple[int, ...],
    classes: int = 3,
    input_shape: tuple[int, ...] = (5,),
    **settings: Any,
) -> LocalRule:
    rule = rules()[name](**settings)
    setting = Setting(rule, input_shape, output_shape, classes, seed=0, index=0)
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
        own = inputs - inputs.mean(1, keepdim=True)
        positive = goodness_of(body(own / own.std(1, correction=0, keepdim=True)))
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


@pytest.mark.parametrize('pairs', ['sum', 'standardized'])
def test_contrast_self_takes_a_sample_and_itself_alike_on_either_side(pairs: str) -> None:
    """Whatever the length and mean of what arrives: only then a pair's goodness says anything."""
    rule = made_rule('contrast_self', (6,), theta_positive=0.0, theta_negative=0.0, pairs=pairs)
    inputs = 3 * torch.randn(1, 5, generator=torch.Generator().manual_seed(2)).repeat(4, 1) + 2
    body = nn.Linear(5, 6)
    loss = rule.own_loss(Step(body, inputs, body(inputs), LABELS, 0))
    # softplus(-G) + softplus(G) of one goodness G
    twice = 2 * inputs[0] if pairs == 'sum' else (inputs[0] - inputs[0].mean())
    twice = twice if pairs == 'sum' else twice / twice.std(correction=0)
    goodness = goodness_of((body(twice) + (body.bias if pairs == 'sum' else 0))[None])[0]
    assert torch.allclose(loss, (1 + (-goodness).exp()).log() + (1 + goodness.exp()).log())


def test_contrast_self_may_hold_down_the_goodness_of_positives() -> None:
    plain, held = (made_rule('contrast_self', (6,), penalty=each) for each in (0.0, 0.25))
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    body = nn.Linear(5, 6)
    step = Step(body, inputs, body(inputs), LABELS, 0)
    added = 0.25 * goodness_of(2 * step.output).mean()
    assert torch.allclose(held.own_loss(step), plain.own_loss(step) + added)


def test_contrast_self_silences_maps_below_their_pixels_mean() -> None:
    rule, output = made_rule('contrast_self', (4, 4, 6)), maps()
    triangle = (output - output.mean(1, keepdim=True)).clamp_min(0).flatten(1)
    deviation = triangle.std(1, correction=0, keepdim=True)
    wanted = (triangle - triangle.mean(1, keepdim=True)) / deviation
    assert torch.allclose(rule.passed(output).flatten(1), wanted, atol=1e-5)


def test_reconstruct_restores_the_input() -> None:
    rule = made_rule('reconstruct', (6,))
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    output = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    loss = rule.own_loss(step_of(output, LABELS, inputs))
    assert torch.allclose(loss, (rule.decoder(output) - inputs).square().mean())


def test_reconstruct_restores_maps_from_smaller_ones() -> None:
    rule = made_rule('reconstruct', (2, 2, 6), input_shape=(4, 4, 3))
    inputs, output = maps(channels=3), torch.randn(4, 6, 2, 2)
    each_pixel_four_times = output.repeat_interleave(2, 2).repeat_interleave(2, 3)
    loss = rule.own_loss(step_of(output, LABELS, inputs))
    restored = rule.decoder(each_pixel_four_times)
    assert torch.allclose(loss, (restored - inputs).square().mean())


def test_reconstruct_restores_what_noise_was_added_to() -> None:
    rule, body = made_rule('reconstruct', (6,), noise=0.5), nn.Linear(5, 6)
    inputs = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    seen = []

    def again(noisy: Tensor) -> Tensor:
        seen.append(noisy)
        return body(noisy)

    loss = rule.own_loss(Step(again, inputs, body(inputs), LABELS.repeat(100), 0))
    noise = seen[0] - inputs
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 0.5) < 0.05
    assert torch.allclose(loss, (rule.decoder(body(seen[0])) - inputs).square().mean())
    rule.own_loss(Step(again, inputs, body(inputs), LABELS.repeat(100), 1))
    assert not torch.equal(seen[0], seen[1]), 'noise of its own in every step'


def test_cascade_sends_the_error_back_through_a_fixed_matrix() -> None:
    rule, output = made_rule('cascade', (6,)), torch.randn(4, 6, requires_grad=True)
    loss, scores = rule.loss(step_of(output, LABELS))
    loss.backward()
    logits = rule.head(output.detach())
    assert torch.allclose(loss.detach(), cross_entropy_by_hand(logits, LABELS))
    error = logits.softmax(1) - torch.eye(3)[LABELS]
    assert torch.allclose(output.grad, error @ rule.feedback / 4, atol=1e-6)
    assert torch.allclose(scores.sum(1), torch.ones(4), atol=1e-5), 'probabilities are added up'


def test_cascade_sends_the_error_of_smoothed_targets_back() -> None:
    rule = made_rule('cascade', (6,), label_smoothing=0.3)
    output = torch.randn(4, 6, requires_grad=True)
    loss, _ = rule.loss(step_of(output, LABELS))
    loss.backward()
    logits = rule.head(output.detach())
    targets = 0.7 * torch.eye(3)[LABELS] + 0.1
    assert torch.allclose(loss.detach(), -(targets * logits.log_softmax(1)).sum(1).mean())
    error = logits.softmax(1) - targets
    assert torch.allclose(output.grad, error @ rule.feedback / 4, atol=1e-6)


@pytest.mark.parametrize('name', ['softmax_head', 'block_softmax'])
def test_a_head_may_have_smoothed_targets(name: str) -> None:
    rule, output = made_rule(name, (6,), label_smoothing=0.3), torch.randn(4, 6)
    targets = 0.7 * torch.eye(3)[LABELS] + 0.1
    loss, scores = rule.loss(step_of(output, LABELS))
    assert torch.allclose(scores, rule.head(output).log_softmax(1))
    assert torch.allclose(loss, -(targets * scores).sum(1).mean())


def test_block_softmax_may_hold_back_how_far_a_block_moves_its_input() -> None:
    still, moving = (made_rule('block_softmax', (5,), movement=each) for each in (0.4, 0.0))
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    output = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    losses = [rule.loss(step_of(output, LABELS, inputs))[0] for rule in (still, moving)]
    assert torch.allclose(losses[0], losses[1] + 0.4 * (output - inputs).square().mean())


def test_spatial_goodness_is_a_fixed_map_of_patch_energies() -> None:
    rule, output = made_rule('spatial_goodness', (4, 4, 6), patches=2), maps()
    energies = output.square().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    goodness = energies @ rule.fixed
    loss, scores = rule.loss(step_of(output, LABELS))
    assert torch.allclose(loss, cross_entropy_by_hand(goodness, LABELS))
    assert torch.allclose(scores, goodness.log_softmax(1))
    assert list(rule.parameters()) == []


def test_spatial_goodness_passes_on_normalised_pixels() -> None:
    passed = made_rule('spatial_goodness', (4, 4, 6)).passed(3 * maps() + 1)
    assert torch.allclose(passed.mean(1), torch.zeros(4, 4, 4), atol=1e-5)
    assert torch.allclose(passed.var(1, correction=0), torch.ones(4, 4, 4), atol=1e-2)


def test_pred_sim_compares_the_deviations_of_maps() -> None:
    rule, output = made_rule('pred_sim', (4, 4, 6), beta=0.6, label_smoothing=0.3), maps()
    features = rule.projection(output).flatten(2).std(2)
    centred = features - features.mean(1, keepdim=True)
    targets = torch.eye(3)[LABELS] - 1 / 3
    ours, wanted = (
        cosine_similarity(rows[:, None], rows[None], dim=2) for rows in (centred, targets)
    )
    smoothed = 0.7 * torch.eye(3)[LABELS] + 0.1
    loss, scores = rule.loss(step_of(output, LABELS))
    cross_entropy = -(smoothed * scores).sum(1).mean()
    matching = (ours - wanted).square().mean()
    assert torch.allclose(loss, 0.4 * cross_entropy + 0.6 * matching, atol=1e-5)


@pytest.mark.parametrize('name', ['block_goodness', 'reconstruct'])
def test_what_passes_on_is_layer_normalised(name: str) -> None:
    passed = made_rule(name, (4, 4, 6), input_shape=(4, 4, 3)).passed(3 * maps() + 1).flatten(1)
    assert torch.allclose(passed.mean(1), torch.zeros(4), atol=1e-5)
    assert torch.allclose(passed.var(1, correction=0), torch.ones(4), atol=1e-3)
