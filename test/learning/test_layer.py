# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer learns, and its state is a function of run and batches alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.goodness import normalize
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.learning.wire import from_wire
from dff_nodes.runs.resolve import ResolvedRun

MakeRun = Callable[..., ResolvedRun]
CPU = torch.device('cpu')
ONE_PASS = {'classification': {'mode': 'one_pass'}}
PEERS = {'name': 'threshold', 'peer_normalization': 0.03}
VARIANTS = [
    {},
    {'rule': 'symba', 'optimizer': 'sgd'},
    {'rule': PEERS, 'optimizer': 'adam'},
    {'rule': PEERS, 'optimizer': {'name': 'sgd', 'learning_rate': 0.01}},
    {'optimizer': {'name': 'sgd', 'momentum': 0.0}},
    {'optimizer': {'name': 'adam', 'weight_decay': 0.01}, **ONE_PASS},
    {'rule': PEERS, 'optimizer': 'sgd', **ONE_PASS},
]


def layer(run: ResolvedRun, index: int = 0) -> Layer:
    return make_layer(run, index, CPU)


def toy_batch(step: int, samples: int = 24) -> Batch:
    """Images of 3 classes around a prototype each, with right and wrong labels."""
    prototypes = torch.randint(0, 200, (3, 12), generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(step + 1)
    labels = torch.randint(0, 3, (samples,), generator=random)
    noise = torch.randint(0, 50, (samples, 12), generator=random)
    images = (prototypes[labels] + noise).to(torch.uint8).view(samples, 3, 4, 1)
    wrong = (labels + torch.randint(1, 3, (samples,), generator=random)) % 3
    return Batch(images, labels=labels, negative_labels=wrong)


def activities(step: int, samples: int = 24) -> Batch:
    """Positive and negative activities that differ in direction."""
    random = torch.Generator().manual_seed(step)
    towards = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    rows = [towards[sign] + torch.randn(samples, 16, generator=random) for sign in (0, 1)]
    return Batch(*(normalize(each.relu()) for each in rows))


def train(model: Layer, steps: range) -> None:
    """Train, and the read-out where there is one."""
    for step in steps:
        batch = toy_batch(step)
        if model.readout:
            model.score(batch)
        model.train(batch)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one
    )


# ---- the beginning -------------------------------------------------------------------------


def test_weights_come_from_seed_and_index(small_run: MakeRun) -> None:
    run, other = small_run(seed=4, units=12), small_run(seed=5, units=12)
    digests = [layer(run, 0), layer(run, 0), layer(run, 1), layer(other, 0)]
    first, again, next_layer, other_seed = [each.linear.weight for each in digests]
    assert torch.equal(first, again)
    assert digests[0].weights_sha256() == digests[1].weights_sha256()
    assert first.shape == next_layer.shape == other_seed.shape
    assert not torch.isclose(first, next_layer).any()
    assert not torch.isclose(first, other_seed).any()


def test_the_global_generator_does_not_matter(small_run: MakeRun) -> None:
    run = small_run(**ONE_PASS)
    torch.manual_seed(1)
    one = layer(run)
    train(one, range(2))
    torch.manual_seed(2)
    other = layer(run)
    train(other, range(2))
    assert same(one.state(), other.state())


def test_weights_have_the_variance_of_their_inputs(small_run: MakeRun) -> None:
    weight = layer(small_run(units=2000)).linear.weight.double()
    assert weight.shape == (2000, 12)
    assert weight.mean().item() == pytest.approx(0, abs=4 / math.sqrt(12 * 24000))
    assert weight.var().item() == pytest.approx(1 / 12, rel=4 * math.sqrt(2 / 24000))
    assert not layer(small_run()).linear.bias.any()


# ---- training ------------------------------------------------------------------------------


@pytest.mark.parametrize('rule', ['threshold', 'symba', 'swish', PEERS], ids=str)
@pytest.mark.parametrize('optimizer', ['adam', {'name': 'sgd', 'learning_rate': 0.05}], ids=str)
def test_training_separates_positive_from_negative(
    small_run: MakeRun, rule: Any, optimizer: Any
) -> None:
    model = layer(small_run(rule=rule, optimizer=optimizer, units=32))
    figures = [model.train(toy_batch(step))[1] for step in range(150)]
    assert sum(each.separation for each in figures[:3]) / 3 < 0.8
    assert sum(each.separation for each in figures[-10:]) / 10 > 0.9
    assert figures[-1].loss < figures[0].loss
    assert figures[-1].positive_goodness > figures[-1].negative_goodness
    assert model.optimizer.steps_done == 150


def test_a_layer_behind_the_first_separates_too(small_run: MakeRun) -> None:
    model = layer(small_run(), 1)
    figures = [model.train(activities(step))[1] for step in range(150)]
    assert figures[-1].separation > 0.9
    assert figures[-1].loss < figures[0].loss


@pytest.mark.parametrize('rule', ['threshold', 'symba', 'swish'])
def test_the_step_is_that_of_the_formula(small_run: MakeRun, rule: str) -> None:
    """One SGD step against a step computed in float64 from the definition."""
    optimizer = {'name': 'sgd', 'learning_rate': 0.1, 'momentum': 0.0}
    training = {'learning_rate': {'warmup': 0, 'hold': 1}}
    model = layer(small_run(rule=rule, optimizer=optimizer, training=training), 1)
    batch = activities(0)
    weight = model.linear.weight.detach().double().requires_grad_()
    bias = model.linear.bias.detach().double().requires_grad_()
    rows = torch.cat((batch.positive, batch.negative)).double()
    squares = (rows @ weight.T + bias).relu().square()
    positive, negative = (squares.sum(1) if rule == 'threshold' else squares.mean(1)).chunk(2)
    softplus = torch.nn.functional.softplus
    loss = {
        'threshold': softplus(16 - positive) + softplus(negative - 16),
        'symba': softplus(-4 * (positive - negative)),
        'swish': torch.nn.functional.silu(-6 * (positive - negative)),
    }[rule].mean()
    loss.backward()
    _, figures = model.train(batch)
    assert figures.loss == pytest.approx(loss.item(), rel=1e-5)
    assert figures.positive_goodness == pytest.approx(positive.mean().item(), rel=1e-5)
    assert figures.negative_goodness == pytest.approx(negative.mean().item(), rel=1e-5)
    right = (positive > negative).double().mean().item()
    assert figures.separation == pytest.approx(right)
    assert figures.learning_rate == 0.1
    moved = weight.detach() - 0.1 * weight.grad
    assert torch.allclose(model.linear.weight.double(), moved, rtol=1e-4, atol=1e-6)
    assert torch.allclose(model.linear.bias.double(), -0.1 * bias.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('wire', ['float32', 'float16', 'uint8'])
def test_what_passes_on_is_from_before_the_update(small_run: MakeRun, wire: str) -> None:
    model = layer(small_run(stream={'dtype': wire}), 1)
    batch = activities(0)
    with torch.no_grad():
        positive = normalize(model.linear(batch.positive).relu())
        negative = normalize(model.linear(batch.negative).relu())
    passed, _ = model.train(batch)
    assert passed.positive.dtype == passed.negative.dtype == getattr(torch, wire)
    relative, absolute = {'float32': (1e-5, 1e-6), 'float16': (1e-3, 1e-6), 'uint8': (0, 0.0315)}[
        wire
    ]
    arrived = [torch.empty_like(positive), torch.empty_like(negative)]
    from_wire(passed.positive, arrived[0])
    from_wire(passed.negative, arrived[1])
    assert torch.allclose(arrived[0], positive, rtol=relative, atol=absolute)
    assert torch.allclose(arrived[1], negative, rtol=relative, atol=absolute)
    assert not passed.positive.requires_grad
    with torch.no_grad():
        after = normalize(model.linear(batch.positive).relu())
    assert not torch.allclose(arrived[0], after, rtol=relative, atol=absolute)


def test_scoring_trains_the_readout_only(small_run: MakeRun) -> None:
    model = layer(small_run(**ONE_PASS))
    train(model, range(3))
    before, batch = copied(model.state()), toy_batch(9)
    expected = model.evaluate(batch)[1]
    passed, scores = model.score(batch)
    assert torch.equal(scores, expected), 'the logits from before the step'
    assert torch.equal(passed.labels, batch.labels)
    assert passed.positive.square().mean(1).tolist() == pytest.approx([1.0] * 24, rel=1e-3)
    changed = {name for name, tensor in model.state().items() if not tensor.equal(before[name])}
    assert changed == {name for name in before if name.startswith('readout.')}
    assert model.readout.optimizer.steps_done == 4
    assert model.optimizer.steps_done == 3


@pytest.mark.parametrize('sections', [{}, ONE_PASS], ids=['goodness', 'one_pass'])
def test_evaluation_changes_nothing(small_run: MakeRun, sections: dict) -> None:
    for index, batch in ((0, toy_batch(7, 6)), (1, activities(7, 6))):
        model = layer(small_run(**sections), index)
        before = copied(model.state())
        model.evaluate(Batch(batch.positive, candidates=1 if index == 0 else model.candidates))
        assert same(model.state(), before)


def test_candidates_are_scored_by_their_goodness(small_run: MakeRun) -> None:
    """The score of a class is the goodness of the image with that label, at every layer."""
    run = small_run(rule='threshold')
    first, second = layer(run, 0), layer(run, 1)
    images = toy_batch(3, 4).positive
    passed, scores = first.evaluate(Batch(images))
    assert scores.shape == (4, 3)
    assert passed.candidates == 3
    behind, later_scores = second.evaluate(passed)
    assert later_scores.shape == (4, 3)
    assert behind.samples == 4
    for label in range(3):
        labels = torch.full((4,), label)
        one = Batch(images, labels=labels, negative_labels=(labels + 1) % 3)
        with torch.no_grad():
            activity = first.input.pair(first.linear, one)[:4].relu()
            later = second.linear(normalize(activity)).relu()
        assert torch.allclose(scores[:, label], activity.square().sum(1), rtol=1e-5)
        assert torch.allclose(later_scores[:, label], later.square().sum(1), rtol=1e-4)


def test_a_trained_layer_classifies(small_run: MakeRun) -> None:
    for sections in ({}, ONE_PASS):
        training = {'readout': {'learning_rate': 0.02}, 'epochs': 10}
        model = layer(small_run(units=32, training=training, **sections))
        train(model, range(150))
        test = toy_batch(999, 60)
        _, scores = model.evaluate(Batch(test.positive))
        assert (scores.argmax(1) == test.labels).float().mean().item() > 0.9


# ---- state ---------------------------------------------------------------------------------


@pytest.mark.parametrize('variant', VARIANTS, ids=str)
def test_a_loaded_layer_goes_on_bit_for_bit(small_run: MakeRun, variant: dict) -> None:
    run = small_run(**variant)
    model = layer(run)
    train(model, range(5))
    saved = copied(model.state())
    train(model, range(5, 10))
    loaded = layer(run)
    loaded.load_state(copied(saved))
    assert same(loaded.state(), saved)
    train(loaded, range(5, 10))
    assert same(loaded.state(), model.state())
    assert loaded.weights_sha256() == model.weights_sha256()
    assert not same(loaded.state(), saved)


@pytest.mark.parametrize('variant', VARIANTS, ids=str)
def test_a_layer_that_never_trained_can_be_saved(small_run: MakeRun, variant: dict) -> None:
    run = small_run(**variant)
    saved = copied(layer(run).state())
    model = layer(run)
    train(model, range(1))
    started_over = layer(run)
    started_over.load_state(saved)
    train(started_over, range(1))
    assert same(started_over.state(), model.state())


def saved_state(small_run: MakeRun) -> tuple[Layer, dict[str, Tensor]]:
    run = small_run(rule=PEERS, **ONE_PASS)
    model = layer(run)
    train(model, range(2))
    return layer(run), copied(model.state())


NAMES = [
    'peers.mean_activity',
    *(
        f'{prefix}{name}'
        for prefix in ('', 'readout.')
        for name in (
            'weight',
            'bias',
            'optimizer.steps_done',
            *(
                f'optimizer.{parameter}.{moment}'
                for parameter in ('weight', 'bias')
                for moment in ('mean', 'square', 'step')
            ),
        )
    ),
]


def test_these_are_all_tensors_of_a_state(small_run: MakeRun) -> None:
    _, state = saved_state(small_run)
    assert sorted(state) == sorted(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_missing_tensor_is_named(small_run: MakeRun, name: str) -> None:
    model, state = saved_state(small_run)
    del state[name]
    with pytest.raises(ValueError, match=rf'lacks {name}$'):
        model.load_state(state)


@pytest.mark.parametrize('name', NAMES)
def test_a_tensor_of_another_shape_is_named(small_run: MakeRun, name: str) -> None:
    model, state = saved_state(small_run)
    state[name] = torch.zeros(3, 3, 3)
    before = copied(model.state())
    with pytest.raises(ValueError, match=rf'^{name} has shape \[3, 3, 3\]'):
        model.load_state(state)
    assert same(model.state(), before), 'nothing has changed'


@pytest.mark.parametrize(
    'name', ['weight2', 'optimizer.weight.exp_avg', 'optimizer.bias.momentum', 'optimizer', '']
)
def test_a_tensor_too_many_is_named(small_run: MakeRun, name: str) -> None:
    model, state = saved_state(small_run)
    state[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=f'holds {name}, which is not known'):
        model.load_state(state)


def test_the_state_of_another_kind_of_layer_is_refused(small_run: MakeRun) -> None:
    kinds = [small_run(), small_run(optimizer='sgd'), small_run(rule=PEERS), small_run(**ONE_PASS)]
    for one in kinds:
        trained = layer(one)
        train(trained, range(2))
        for other in kinds:
            if other is not one:
                with pytest.raises(ValueError, match='state (lacks|holds)'):
                    layer(other).load_state(copied(trained.state()))


def test_the_given_state_is_left_as_it_was(small_run: MakeRun) -> None:
    model, state = saved_state(small_run)
    names = set(state)
    model.load_state(state)
    assert set(state) == names


def test_the_digest_changes_with_one_bit(small_run: MakeRun) -> None:
    model = layer(small_run(**ONE_PASS))
    digests = {model.weights_sha256()}
    assert model.weights_sha256() in digests
    for name, tensor in model.parameters().items():
        flat = tensor.view(-1).view(torch.int32)
        flat[len(flat) // 2] ^= 1
        digests.add(model.weights_sha256())
        flat[len(flat) // 2] ^= 1
        assert name in {'weight', 'bias', 'readout.weight', 'readout.bias'}
    assert len(digests) == 5


def test_the_digest_is_of_weights_only(small_run: MakeRun) -> None:
    model = layer(small_run())
    before = model.weights_sha256()
    model.optimizer.groups[0][0].steps_done = 99
    assert model.weights_sha256() == before
    with torch.no_grad():
        model.linear.bias[0] = -0.0
    assert model.weights_sha256() != before, '-0.0 has other bits than 0.0'
