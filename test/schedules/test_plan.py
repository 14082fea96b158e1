# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The order of the stream, whatever the sizes of the run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.plan import EvaluationPlan, PlannedItem, TrainingPlan
from dff_nodes.stream.item import Kind, Mark

MakeRun = Callable[..., ResolvedRun]


@st.composite
def sizes(draw: st.DrawFn) -> dict:
    """Draw all that decides the order of a run."""
    train_samples = draw(st.integers(1, 40))
    negatives = {
        'mode': draw(st.sampled_from(['fixed', 'random', 'adaptive'])),
        'lag_batches': draw(st.integers(1, 50)),
    }
    return {
        'train_samples': train_samples,
        'test_samples': draw(st.integers(1, 30)),
        'training': {
            'epochs': draw(st.integers(1, 5)),
            'batch_size': draw(st.integers(1, train_samples)),
            'negatives': negatives,
        },
        'classification': {'mode': draw(st.sampled_from(['goodness', 'one_pass']))},
        'evaluation': {
            'every_epochs': draw(st.integers(0, 6)),
            'train_samples': draw(st.integers(0, 50)),
        },
    }


def epochs_of(items: list[PlannedItem]) -> list[list[PlannedItem]]:
    return [list(epoch) for _, epoch in groupby(items, key=lambda item: item.epoch)]


def positions(epoch: list[PlannedItem], kind: Kind) -> dict[int, int]:
    """Give where in an epoch each batch comes; each comes once."""
    found = [(item.index, place) for place, item in enumerate(epoch) if item.kind is kind]
    assert len(dict(found)) == len(found), 'once an epoch'
    return dict(found)


def everywhere(test: Callable) -> Callable:
    """Run a test with runs of all sizes."""
    return settings(deadline=None, derandomize=True, max_examples=80)(given(sizes())(test))


@everywhere
def test_items_are_numbered_without_gaps(made_run: MakeRun, drawn: dict) -> None:
    plan = TrainingPlan(made_run(**drawn))
    items = list(plan.from_item(0))
    assert [item.number for item in items] == list(range(plan.items))
    epochs = epochs_of(items)
    assert [epoch[0].epoch for epoch in epochs] == list(range(drawn['training']['epochs']))
    assert [epoch[-1].number for epoch in epochs] == [
        plan.end_of_epoch(epoch) for epoch in range(len(epochs))
    ]


@everywhere
def test_every_batch_is_trained_on_once_an_epoch(made_run: MakeRun, drawn: dict) -> None:
    run = made_run(**drawn)
    for epoch in epochs_of(list(TrainingPlan(run).from_item(0))):
        trained = positions(epoch, Kind.TRAIN)
        assert list(trained) == list(range(run.batches_per_epoch)), 'in order'
        scored = positions(epoch, Kind.SCORE)
        assert list(scored) == (list(trained) if run.config.has_readout else [])


@everywhere
def test_a_batch_is_scored_by_the_lag_before_it_is_trained_on(
    made_run: MakeRun, drawn: dict
) -> None:
    run = made_run(**drawn)
    lag = min(run.config.training.negatives.lag_batches, run.batches_per_epoch)
    for epoch in epochs_of(list(TrainingPlan(run).from_item(0))):
        trained, scored = positions(epoch, Kind.TRAIN), positions(epoch, Kind.SCORE)
        for index, place in scored.items():
            between = epoch[place + 1 : trained[index]]
            assert place < trained[index]
            begun = sum(item.kind is Kind.TRAIN for item in between)
            assert begun == min(lag, index), 'the batches that were under way, and no more'
            ahead = sum(item.kind is Kind.SCORE for item in between)
            assert ahead == min(lag, run.batches_per_epoch - 1 - index)


@everywhere
def test_an_epoch_ends_with_its_evaluations_and_its_mark(made_run: MakeRun, drawn: dict) -> None:
    run = made_run(**drawn)
    epochs = epochs_of(list(TrainingPlan(run).from_item(0)))
    every = run.config.evaluation.every_epochs
    on_train = min(run.config.evaluation.train_samples, run.facts.train_samples)
    for number, epoch in enumerate(epochs):
        last = number == len(epochs) - 1
        *others, mark = epoch
        assert mark.kind is Kind.MARK
        assert mark.mark is (Mark.END_OF_RUN if last else Mark.END_OF_EPOCH)
        assert all(item.mark is Mark.NONE and item.kind is not Kind.MARK for item in others)
        kinds = [item.kind for item in others]
        evaluated = [item for item in others if item.kind is Kind.EVALUATE]
        assert kinds[len(kinds) - len(evaluated) :] == [Kind.EVALUATE] * len(evaluated)
        due = last or (every > 0 and (number + 1) % every == 0)
        samples = {'test': run.facts.test_samples if due else 0, 'train': on_train if last else 0}
        expected = [
            (split, index)
            for split, count in samples.items()
            for index in range(-(-count // run.evaluation_batch))
        ]
        assert [(item.split, item.index) for item in evaluated] == expected


@everywhere
def test_a_run_goes_on_from_any_item(made_run: MakeRun, drawn: dict) -> None:
    plan = TrainingPlan(made_run(**drawn))
    items = list(plan.from_item(0))
    for first in {*range(0, len(items), 1 + len(items) // 40), len(items) - 1, len(items)}:
        assert list(plan.from_item(first)) == items[first:]
    for item in items:
        assert plan.epoch_of(item.number) == item.epoch
    for number in (-1, len(items), len(items) + 99):
        with pytest.raises(ValueError, match=f'there is no item {number}'):
            plan.epoch_of(number)


def test_the_order_of_a_small_run_is_this(made_run: MakeRun) -> None:
    """Three batches, scored two batches ahead, evaluated at the end."""
    run = made_run(
        train_samples=6,
        test_samples=2,
        training={
            'epochs': 1,
            'batch_size': 2,
            'negatives': {'mode': 'adaptive', 'lag_batches': 2},
        },
        evaluation={'train_samples': 1},
    )
    items = TrainingPlan(run).from_item(0)
    short = [f'{item.kind.name} {item.split} {item.index}' for item in items]
    assert short == [
        'SCORE train 0',
        'SCORE train 1',
        'SCORE train 2',
        'TRAIN train 0',
        'TRAIN train 1',
        'TRAIN train 2',
        'EVALUATE test 0',
        'EVALUATE test 1',
        'EVALUATE train 0',
        'MARK train 0',
    ]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_an_evaluation_is_its_samples_and_the_end(samples: int, batch: int, first: int) -> None:
    plan = EvaluationPlan(samples, batch, first)
    *chunks, end = plan.from_item(first)
    assert [item.number for item in [*chunks, end]] == list(range(first, plan.items))
    for later in range(first, plan.items + 1):
        assert list(plan.from_item(later)) == [*chunks, end][later - first :]
    assert [item.index for item in chunks] == list(range(-(-samples // batch)))
    assert {item.kind for item in chunks} == {Kind.EVALUATE}
    assert (end.kind, end.mark) == (Kind.MARK, Mark.END_OF_RUN)
    assert plan.evaluated_samples('test') == samples
