# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer handles its items strictly in order, each in the way of its kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.early_exit import make_early_exit
from dff_nodes.learning.layer import Diverged, Layer, make_layer
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.layer_worker import LayerWorker, OutOfOrder
from dff_nodes.stream.item import Item, Kind, Mark

MakeRun = Callable[..., ResolvedRun]
LABELS = torch.tensor([0, 1, 2])


@pytest.fixture
def layer(made_run: MakeRun) -> Layer:
    run = made_run(
        network=[{'units': 6}],
        training={'batch_size': 4},
        classification={'mode': 'one_pass'},
    )
    return make_layer(run, 0, torch.device('cpu'))


def an_item(number: int, kind: Kind) -> Item:
    images = torch.arange(36, dtype=torch.uint8).view(3, 3, 4, 1)
    if kind is Kind.MARK:
        return Item(number, kind, 1, mark=Mark.END_OF_EPOCH, checkpoint=True)
    labels = LABELS if kind in (Kind.TRAIN, Kind.SCORE) else None
    wrong = (LABELS + 1) % 3 if kind is Kind.TRAIN else None
    return Item(number, kind, 1, Batch(images, labels=labels, negative_labels=wrong))


@pytest.mark.parametrize('number', [0, 4, 6, 2**40])
def test_items_out_of_order_are_refused_and_change_nothing(layer: Layer, number: int) -> None:
    worker = LayerWorker(layer, 5)
    digest = layer.weights_sha256()
    with pytest.raises(OutOfOrder, match=f'item {number} came, item 5 is next'):
        worker.handle(an_item(number, Kind.TRAIN))
    assert layer.weights_sha256() == digest
    assert worker.next_item == 5
    worker.handle(an_item(5, Kind.TRAIN))
    assert worker.next_item == 6


def test_the_same_item_is_not_handled_twice(layer: Layer) -> None:
    worker = LayerWorker(layer, 0)
    worker.handle(an_item(0, Kind.TRAIN))
    digest = layer.weights_sha256()
    with pytest.raises(OutOfOrder):
        worker.handle(an_item(0, Kind.TRAIN))
    assert layer.weights_sha256() == digest


def test_an_item_that_cannot_be_handled_is_still_the_next(layer: Layer) -> None:
    worker = LayerWorker(layer, 0)
    broken = Item(0, Kind.TRAIN, 0, Batch(torch.zeros(3, 2, 2, 1, dtype=torch.uint8)))
    with pytest.raises((RuntimeError, TypeError)):
        worker.handle(broken)
    assert worker.next_item == 0


@pytest.mark.parametrize('rule', ['softmax_head', 'swish'])
def test_training_that_diverges_raises_what_says_so(made_run: MakeRun, rule: str) -> None:
    run = made_run(network=[{'units': 6, 'rule': rule}], training={'batch_size': 4})
    worker = LayerWorker(make_layer(run, 0, torch.device('cpu')), 0)
    worker.handle(an_item(0, Kind.TRAIN))
    for parameter in worker.layer.parameters().values():
        parameter.mul_(1e38)
    with pytest.raises(Diverged, match='the loss of layer_0 is not finite at item 1: training'):
        worker.handle(an_item(1, Kind.TRAIN))
    assert worker.next_item == 1


def test_what_a_rule_of_another_package_spoils_does_not_travel(made_run: MakeRun) -> None:
    network = [{'units': 6, 'rule': 'softmax_head'}]
    run = made_run(network=network, training={'batch_size': 4}, stream={'dtype': 'float32'})
    layer = make_layer(run, 0, torch.device('cpu'))
    layer.rule.passed = lambda output: output / 0
    with pytest.raises(Diverged, match='the float32 output of layer_0 is not finite at item 0'):
        LayerWorker(layer, 0).handle(an_item(0, Kind.TRAIN))


def test_scores_that_are_not_finite_are_not_told(layer: Layer) -> None:
    worker = LayerWorker(layer, 0)
    for parameter in layer.parameters().values():
        parameter.fill_(float('nan'))
    with pytest.raises(Diverged, match='the class score of layer_0 is not finite'):
        worker.handle(an_item(0, Kind.EVALUATE))


def test_the_digest_of_what_was_applied_tells_items_kinds_and_their_order(
    layer: Layer,
) -> None:
    def applied(kinds: list[Kind], first: int = 0, before: str = '') -> str:
        worker = LayerWorker(layer, first, applied=before)
        for number, kind in enumerate(kinds, first):
            worker.handle(an_item(number, kind))
        return worker.applied

    kinds = [Kind.SCORE, Kind.TRAIN, Kind.EVALUATE, Kind.MARK]
    whole = applied(kinds)
    assert applied([]) == ''
    for count in range(len(kinds)):
        assert applied(kinds[count:], count, applied(kinds[:count])) == whole
        assert applied(kinds[:count]) != whole
        assert applied(kinds[count:], count) != whole or count == 0
    assert applied(kinds[::-1]) != whole
    assert applied(kinds, first=1) != whole


def test_scores_are_counted(layer: Layer) -> None:
    worker = LayerWorker(layer, 5, scored=3)
    counts = []
    for number, kind in enumerate((Kind.TRAIN, Kind.SCORE, Kind.EVALUATE, Kind.MARK), 5):
        worker.handle(an_item(number, kind))
        counts.append(worker.scored)
    assert counts == [3, 4, 5, 5]


@pytest.mark.parametrize('kind', list(Kind))
def test_each_kind_gives_what_belongs_to_it(layer: Layer, kind: Kind) -> None:
    item = an_item(7, kind)
    before = layer.weights_sha256()
    handled = LayerWorker(layer, 7).handle(item)
    passed = handled.passed_on
    assert (passed.number, passed.kind, passed.epoch) == (7, kind, 1)
    assert (passed.mark, passed.checkpoint) == (item.mark, item.checkpoint)
    assert (handled.figures is not None) == (kind is Kind.TRAIN)
    assert (handled.scores is not None) == (kind in (Kind.SCORE, Kind.EVALUATE))
    assert (layer.weights_sha256() != before) == (kind in (Kind.TRAIN, Kind.SCORE))
    if kind is Kind.MARK:
        assert passed is item
        return
    assert passed.batch.positive.shape == (3, 6)
    assert (passed.batch.negative is not None) == (kind is Kind.TRAIN)
    assert (passed.batch.labels is not None) == (kind is Kind.SCORE)
    assert passed.batch.negative_labels is None, 'a layer behind need not know them'


def test_an_item_whose_samples_were_all_answered_passes_on_empty(made_run: MakeRun) -> None:
    run = made_run(
        network=[{'units': 6}] * 3,
        training={'batch_size': 4},
        classification={'mode': 'one_pass'},
        early_exit={'thresholds': [-1e9, None]},
    )
    item, answered = an_item(0, Kind.EVALUATE), []
    for index in range(3):
        layer = make_layer(run, index, torch.device('cpu'))
        worker = LayerWorker(layer, 0, early_exit=make_early_exit(run, index))
        handled = worker.handle(item)
        item = handled.passed_on
        answered.append(handled.rows.tolist())
        assert handled.scores.shape == (len(handled.rows), 3)
        assert item.batch.positive.shape == (0, 6)
        assert worker.scored == 1
    assert answered == [[0, 1, 2], [], []]
