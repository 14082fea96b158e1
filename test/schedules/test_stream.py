# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""However late scores come and however deep the queues are, the run is the same."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.decisions import Decision, decisions
from dff_nodes.schedules.layer_worker import LayerWorker
from dff_nodes.schedules.plan import EvaluationPlan, TrainingPlan
from dff_nodes.schedules.reference import ReferenceRun
from dff_nodes.schedules.stream import Evaluation, StreamCoordinator
from dff_nodes.stream.codec import ItemDecoder, encode
from dff_nodes.stream.item import Item, Kind

MakeRun = Callable[..., ResolvedRun]
MakeData = Callable[[DataFacts], Dataset]

PEERS = {'name': 'threshold', 'peer_normalization': 0.03}
MODES = {
    'fixed': {'mode': 'fixed'},
    'random': {'mode': 'random'},
    'sampled': {'mode': 'adaptive', 'pick': 'sample', 'lag_batches': 2},
    'hardest': {'mode': 'adaptive', 'pick': 'hardest', 'lag_batches': 3},
}
RULES: dict[str, Any] = {
    'threshold': 'threshold',
    'symba': 'symba',
    'swish': 'swish',
    'peers': PEERS,
}


def settings_of(mode: str, rule: str, **more: Any) -> dict[str, Any]:
    """Give the settings of three small layers; the last batch of an epoch is a smaller one."""
    return {
        'network': [{'units': 6, 'rule': RULES[rule]} for _ in range(3)],
        'training': {'epochs': 2, 'batch_size': 3, 'negatives': MODES[mode]},
        'evaluation': {'train_samples': 5},
        'compute': {'device': 'cpu'},
    } | more


@dataclass(frozen=True)
class Outcome:
    """All that a run leads to."""

    weights: list[str]
    evaluations: list[Evaluation]
    negatives: list[list[int]]
    """wrong classes of every TRAIN item"""


def wrong_classes(item: Item) -> list[list[int]]:
    return [item.batch.negative_labels.tolist()] if item.kind is Kind.TRAIN else []


def reference(run: ResolvedRun, dataset: Dataset) -> Outcome:
    """Train item by item."""
    coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
    session = ReferenceRun(run, coordinator)
    negatives: list[list[int]] = []
    session.listener.on_item = lambda item: negatives.extend(wrong_classes(item))
    session.run()
    assert coordinator.finished
    weights = [layer.weights_sha256() for layer in session.layers]
    return Outcome(weights, coordinator.evaluations, negatives)


class Pipeline:
    """
    Layers with a bounded queue each, and scores that take their time: any part may go next.

    Items pass from layer to layer as bytes, scores in the order of their items, as links do.
    """

    def __init__(self, run: ResolvedRun, dataset: Dataset, chance: random.Random) -> None:
        self.coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
        self.chance = chance
        count = len(run.layers)
        cpu = torch.device('cpu')
        self.workers = [LayerWorker(make_layer(run, each, cpu), 0) for each in range(count)]
        self.decoders = [ItemDecoder(run, each) for each in range(count)]
        self.queues: list[deque[Item]] = [deque() for _ in range(count)]
        self.depths = [chance.randint(1, 4) for _ in range(count)]
        self.scores: list[deque[tuple[int, Tensor]]] = [deque() for _ in range(count)]
        self.sent = [0] * count
        """scores of each layer that were given to the coordinator"""
        self.negatives: list[list[int]] = []
        # Some parts are slow: they get their turn less often.
        self.parts = [self._feed]
        self.parts += [lambda each=each: self._work(each) for each in range(count)]
        self.parts += [lambda each=each: self._score(each) for each in range(count)]
        self.speeds = [chance.choice([1, 1, 5, 25]) for _ in self.parts]

    def run(self) -> Outcome:
        for _ in range(200_000):
            if self.coordinator.finished and not any(self.queues):
                return self._outcome()
            self.chance.choices(self.parts, self.speeds)[0]()
        raise AssertionError(f'no end: {self.coordinator.waiting_for_scores}')

    def _outcome(self) -> Outcome:
        weights = [worker.layer.weights_sha256() for worker in self.workers]
        return Outcome(weights, self.coordinator.evaluations, self.negatives)

    def _feed(self) -> None:
        if len(self.queues[0]) < self.depths[0]:
            item = self.coordinator.next_item()
            if item is not None:
                self.negatives += wrong_classes(item)
                self.queues[0].append(self.decoders[0].decode(encode(item)))

    def _work(self, layer: int) -> None:
        behind = self.queues[layer + 1] if layer + 1 < len(self.queues) else None
        full = behind is not None and len(behind) >= self.depths[layer + 1]
        if full or not self.queues[layer]:
            return
        item = self.queues[layer].popleft()
        handled = self.workers[layer].handle(item)
        if handled.scores is not None:
            self.scores[layer].append((item.number, handled.scores))
        if behind is not None:
            behind.append(self.decoders[layer + 1].decode(encode(handled.passed_on)))

    def _score(self, layer: int) -> None:
        if self.scores[layer]:
            number, scores = self.scores[layer].popleft()
            planned = self.coordinator.scored_item(self.sent[layer])
            self.sent[layer] += 1
            assert planned.number == number
            assert self.coordinator.samples_of(planned) == len(scores)
            self.coordinator.add_scores(layer, number, scores)


@pytest.fixture(scope='module')
def right_answer(made_run: MakeRun, made_data: MakeData) -> Callable[..., Outcome]:
    """Give what the reference gives, trained once for each run."""

    @cache
    def outcome(mode: str, rule: str, one_pass: bool, wire: str) -> Outcome:
        run = made_run(**chosen(mode, rule, one_pass, wire))
        return reference(run, made_data(run.facts))

    return outcome


def chosen(mode: str, rule: str, one_pass: bool, wire: str) -> dict[str, Any]:
    classification = {'mode': 'one_pass' if one_pass else 'goodness', 'layers': 'without_first'}
    return settings_of(mode, rule, classification=classification, stream={'dtype': wire})


def check_pipeline(
    made_run: MakeRun,
    made_data: MakeData,
    right_answer: Callable[..., Outcome],
    choice: tuple[str, str, bool, str],
    seed: int,
) -> None:
    run = made_run(**chosen(*choice))
    found = Pipeline(run, made_data(run.facts), random.Random(seed)).run()
    right = right_answer(*choice)
    assert found.negatives == right.negatives
    assert found.weights == right.weights
    assert found.evaluations == right.evaluations


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('rule', RULES)
def test_every_rule_and_kind_of_negatives_equals_the_reference(
    made_run: MakeRun,
    made_data: MakeData,
    right_answer: Callable[..., Outcome],
    mode: str,
    rule: str,
) -> None:
    for seed in range(2):
        choice = (mode, rule, False, 'float32')
        check_pipeline(made_run, made_data, right_answer, choice, seed)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from(sorted(MODES)),
    st.sampled_from(sorted(RULES)),
    st.booleans(),
    st.sampled_from(['float32', 'float16', 'uint8']),
    st.integers(0, 2**32),
)
def test_a_pipeline_of_any_depth_equals_the_reference(
    made_run: MakeRun,
    made_data: MakeData,
    right_answer: Callable[..., Outcome],
    mode: str,
    rule: str,
    one_pass: bool,
    wire: str,
    seed: int,
) -> None:
    choice = (mode, rule, one_pass, wire)
    check_pipeline(made_run, made_data, right_answer, choice, seed)


def test_different_runs_have_different_answers(right_answer: Callable[..., Outcome]) -> None:
    """So that the comparisons above mean something."""
    answers = [right_answer(mode, 'swish', False, 'float32') for mode in MODES]
    answers += [
        right_answer('random', rule, False, 'float32') for rule in RULES if rule != 'swish'
    ]
    answers += [right_answer('random', 'swish', False, wire) for wire in ('float16', 'uint8')]
    for layer in range(3):
        digests = [answer.weights[layer] for answer in answers]
        # How numbers travel between layers does not reach the first one.
        same = 2 if layer == 0 else 0
        assert len(set(digests)) == len(answers) - same


# ---- the coordinator alone -----------------------------------------------------------------


def scored_run(made_run: MakeRun, mode: str = 'sampled', **more: Any) -> ResolvedRun:
    classification = {'classification': {'mode': 'one_pass'}}
    return made_run(**settings_of(mode, 'swish', **classification, **more))


def coordinator_of(
    run: ResolvedRun, made_data: MakeData, first_item: int = 0
) -> StreamCoordinator:
    return StreamCoordinator(run, made_data(run.facts), TrainingPlan(run), first_item)


def made_up_scores(layer: int, item: Item) -> Tensor:
    source = torch.Generator().manual_seed(100 * item.number + layer)
    return torch.randn(item.batch.samples, 3, generator=source)


def all_items(
    coordinator: StreamCoordinator,
    chance: random.Random | None,
    settled: Collection[int] = (),
) -> list[Item]:
    """
    Give all items; scores come at once, or as late and mixed as the run allows.

    :param settled: items whose scores have come already.
    """
    items: list[Item] = []
    late: list[tuple[int, Item]] = []
    while not coordinator.finished:
        item = coordinator.next_item()
        if item is not None:
            items.append(item)
            if item.kind in (Kind.SCORE, Kind.EVALUATE) and item.number not in settled:
                late += [(layer, item) for layer in range(3)]
        while late and (item is None or chance is None):
            which = chance.choice(first_of_each(late)) if chance else 0
            layer, scored = late.pop(which)
            coordinator.add_scores(layer, scored.number, made_up_scores(layer, scored))
            if chance is not None:
                break
    assert coordinator.fed
    return items


def first_of_each(late: list[tuple[int, Item]]) -> list[int]:
    """Places of the first scores of each layer, as each layer's come in order."""
    layers = [layer for layer, _ in late]
    return [layers.index(layer) for layer in set(layers)]


def flat(item: Item) -> tuple:
    """Give an item in a form that can be compared."""
    batch = item.batch
    if batch is None:
        return item.number, item.kind, item.epoch, item.mark, item.checkpoint
    tensors = (batch.positive, batch.labels, batch.negative_labels)
    content = [None if each is None else each.tolist() for each in tensors]
    return item.number, item.kind, item.epoch, batch.negative, batch.candidates, *content


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.sampled_from(sorted(MODES)), st.integers(1, 9), st.booleans(), st.integers(0, 2**32))
def test_late_and_mixed_scores_give_the_same_items(
    made_run: MakeRun,
    made_data: MakeData,
    mode: str,
    lag: int,
    one_pass: bool,
    seed: int,
) -> None:
    chosen_settings = settings_of(
        mode, 'swish', classification={'mode': 'one_pass' if one_pass else 'goodness'}
    )
    chosen_settings['training']['negatives'] = MODES[mode] | {'lag_batches': lag}
    run = made_run(**chosen_settings)
    at_once = coordinator_of(run, made_data)
    late = coordinator_of(run, made_data)
    items, late_items = all_items(at_once, None), all_items(late, random.Random(seed))
    assert [flat(item) for item in late_items] == [flat(item) for item in items]
    assert sorted(map(str, late.evaluations)) == sorted(map(str, at_once.evaluations))
    assert len(at_once.evaluations) == 3


@pytest.mark.parametrize('mode', MODES)
def test_every_sample_is_trained_on_once_an_epoch_with_a_wrong_class(
    made_run: MakeRun, made_data: MakeData, mode: str
) -> None:
    run = scored_run(made_run, mode)
    dataset = made_data(run.facts)
    images = sorted(dataset.x_train.flatten(1).tolist())
    for epoch in range(2):
        coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
        trained = [
            item.batch
            for item in all_items(coordinator, None)
            if item.kind is Kind.TRAIN and item.epoch == epoch
        ]
        seen = torch.cat([batch.positive.flatten(1) for batch in trained])
        assert sorted(seen.tolist()) == images
        right = torch.cat([batch.labels for batch in trained])
        wrong = torch.cat([batch.negative_labels for batch in trained])
        assert not bool((right == wrong).any())
        assert set(wrong.tolist()) <= {0, 1, 2}


def test_fixed_negatives_stay_with_their_sample_and_random_ones_do_not(
    made_run: MakeRun, made_data: MakeData
) -> None:
    changed = {}
    for mode in ('fixed', 'random'):
        run = scored_run(made_run, mode)
        epochs: list[dict] = [{}, {}]
        for item in all_items(coordinator_of(run, made_data), None):
            if item.kind is Kind.TRAIN:
                images = map(tuple, item.batch.positive.flatten(1).tolist())
                wrong = item.batch.negative_labels.tolist()
                epochs[item.epoch] |= dict(zip(images, wrong, strict=True))
        changed[mode] = sum(epochs[0][image] != epochs[1][image] for image in epochs[0])
    assert changed['fixed'] == 0
    assert changed['random'] > 0


@pytest.mark.parametrize('mode', ['random', 'sampled'])
def test_wrong_classes_are_drawn_anew_for_every_batch_of_every_epoch(
    made_run: MakeRun, made_data: MakeData, mode: str
) -> None:
    """The same scores everywhere, so that only the draws differ."""
    run = scored_run(made_run, mode)
    coordinator = coordinator_of(run, made_data)
    draws: list[list[list[int]]] = [[], []]
    while not coordinator.finished:
        item = coordinator.next_item()
        if item.kind in (Kind.SCORE, Kind.EVALUATE):
            for layer in range(3):
                same = torch.zeros(item.batch.samples, 3)
                coordinator.add_scores(layer, item.number, same)
        elif item.kind is Kind.TRAIN:
            offset = (item.batch.negative_labels - item.batch.labels) % 3
            draws[item.epoch].append(offset.tolist())
    for epoch in draws:
        assert any(batch != epoch[0] for batch in epoch[1:-1])
    assert draws[0] != draws[1]


def test_adaptive_negatives_are_those_of_their_own_batch(
    made_run: MakeRun, made_data: MakeData
) -> None:
    """Scores that mark one wrong class of each sample bring exactly that one back."""
    run = scored_run(made_run, 'hardest')
    coordinator = coordinator_of(run, made_data)
    wanted: dict[tuple[int, tuple], list[int]] = {}
    checked = 0
    while not coordinator.finished:
        item = coordinator.next_item()
        if item.kind is Kind.SCORE:
            wrong = (item.batch.labels + 1 + item.number % 2) % 3
            wanted[item.epoch, tuple(item.batch.positive.flatten().tolist())] = wrong.tolist()
            scores = torch.nn.functional.one_hot(wrong, 3).float()
        elif item.kind is Kind.EVALUATE:
            scores = torch.zeros(item.batch.samples, 3)
        else:
            if item.kind is Kind.TRAIN:
                key = item.epoch, tuple(item.batch.positive.flatten().tolist())
                assert item.batch.negative_labels.tolist() == wanted[key]
                checked += 1
            continue
        for layer in range(3):
            coordinator.add_scores(layer, item.number, scores)
    assert checked == run.train_steps


def test_waits_for_scores_and_says_which(made_run: MakeRun, made_data: MakeData) -> None:
    run = scored_run(made_run)
    coordinator = coordinator_of(run, made_data)
    scored: list[Item] = []
    while (item := coordinator.next_item()) is not None:
        scored.append(item)
    assert [item.kind for item in scored] == [Kind.SCORE] * 3, 'lag 2: two ahead of the first'
    assert coordinator.waiting_for_scores == 'the scores of batch 0'
    for layer in (2, 0):
        coordinator.add_scores(layer, 0, made_up_scores(layer, scored[0]))
    assert coordinator.waiting_for_scores == 'the scores of batch 0'
    assert coordinator.next_item() is None
    assert not coordinator.settled_before(1)
    coordinator.add_scores(1, 0, made_up_scores(1, scored[0]))
    assert coordinator.waiting_for_scores is None
    assert coordinator.settled_before(1)
    assert not coordinator.settled_before(2)
    assert coordinator.next_item().kind is Kind.TRAIN


@pytest.mark.parametrize('mode', ['random', 'sampled'])
def test_tells_which_item_a_message_scores_until_it_is_settled(
    made_run: MakeRun, made_data: MakeData, mode: str
) -> None:
    """Also before the item is given out, as a layer may be ahead of one that came back."""
    run = scored_run(made_run, mode)
    coordinator = coordinator_of(run, made_data)
    plan = TrainingPlan(run)
    scored = [each for each in plan.from_item(0) if each.kind in (Kind.SCORE, Kind.EVALUATE)]
    assert coordinator.scored_item(len(scored)) is None
    assert coordinator.scored_item(7) == scored[7]
    assert [coordinator.scored_item(each) for each in range(len(scored))] == scored
    items = {item.number: item for item in all_items(coordinator_of(run, made_data), None)}
    for sequence, planned in enumerate(scored):
        item = items[planned.number]
        assert coordinator.samples_of(planned) == item.batch.samples
        for layer in range(3):
            assert coordinator.scored_item(sequence) == planned
            coordinator.add_scores(layer, planned.number, made_up_scores(layer, item))
        assert coordinator.scored_item(sequence) is None
        assert coordinator.settled == sequence + 1
    assert not coordinator.fed
    assert [flat(item) for item in all_items(coordinator, None, settled=set(items))] == [
        flat(item) for item in items.values()
    ]


def test_scores_that_are_not_awaited_are_refused(made_run: MakeRun, made_data: MakeData) -> None:
    run = scored_run(made_run)
    coordinator = coordinator_of(run, made_data)
    first = coordinator.next_item()
    scores = made_up_scores(0, first)
    for layer, number in ((0, 3), (0, 999), (0, -1), (3, 0), (-1, 0)):
        with pytest.raises(ValueError, match=f'no scores of item {number} are awaited'):
            coordinator.add_scores(layer, number, scores)
    coordinator.add_scores(0, 0, scores)
    with pytest.raises(ValueError, match='no scores of item 0 are awaited from layer_0'):
        coordinator.add_scores(0, 0, scores)
    coordinator.add_scores(1, 0, scores)
    coordinator.add_scores(2, 0, scores)
    with pytest.raises(ValueError, match='no scores of item 0 are awaited from layer_2'):
        coordinator.add_scores(2, 0, scores)


def test_any_item_may_ask_for_checkpoints_and_the_last_always_does(
    made_run: MakeRun, made_data: MakeData
) -> None:
    run = made_run(**settings_of('random', 'swish'))
    wholes = []
    for save in (set(), {0, 5, 6, 11}):
        coordinator = coordinator_of(run, made_data)
        items = []
        while not coordinator.fed:
            coordinator.save_next = len(items) in save
            items.append(coordinator.next_item())
        asked = {item.number for item in items if item.checkpoint}
        assert asked == save | {TrainingPlan(run).items - 1}
        wholes.append([flat(replace(item, checkpoint=False)) for item in items])
    assert wholes[0] == wholes[1], 'it changes nothing else'


def test_evaluations_count_what_is_right(made_run: MakeRun, made_data: MakeData) -> None:
    """Layer 0 knows all, layer 1 nothing, layer 2 all but the classes of 0."""
    run = made_run(**settings_of('random', 'swish'))
    dataset = made_data(run.facts)
    coordinator = StreamCoordinator(run, dataset, TrainingPlan(run))
    labels = {'test': dataset.y_test, 'train': dataset.y_train[:5]}
    images = {'test': dataset.x_test, 'train': dataset.x_train[:5]}
    seen: dict[str, list[Tensor]] = {'test': [], 'train': []}
    for planned in TrainingPlan(run).from_item(0):
        item = coordinator.next_item()
        if item.kind is not Kind.EVALUATE:
            continue
        seen[planned.split].append(item.batch.positive)
        start = planned.index * run.evaluation_batch
        own = labels[planned.split][start : start + item.batch.samples]
        truth = torch.nn.functional.one_hot(own, 3).float()
        lies = torch.nn.functional.one_hot((own + 1) % 3, 3).float()
        partly = torch.where((own == 0)[:, None], lies, truth)
        for layer, scores in enumerate((3 * truth, lies, partly)):
            coordinator.add_scores(layer, item.number, scores)
    assert torch.equal(torch.cat(seen['train']), images['train'])
    assert torch.equal(torch.cat(seen['test']), images['test'].repeat(2, 1, 1, 1))
    zero = {split: float((each == 0).float().mean()) for split, each in labels.items()}
    splits = [(evaluation.epoch, evaluation.split) for evaluation in coordinator.evaluations]
    assert splits == [(0, 'test'), (1, 'test'), (1, 'train')]
    for evaluation in coordinator.evaluations:
        assert evaluation.samples == len(labels[evaluation.split])
        assert evaluation.accuracy == 1.0
        assert evaluation.layer_accuracy == pytest.approx([1.0, 0.0, 1 - zero[evaluation.split]])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.sampled_from(sorted(MODES)),
    st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1)), max_size=5),
    st.integers(0, 2**32),
)
def test_a_coordinator_may_be_thrown_away_at_any_moment(
    made_run: MakeRun,
    made_data: MakeData,
    mode: str,
    crashes: list[tuple[int, float]],
    seed: int,
) -> None:
    """Made again from what was decided, it gives the same items, whichever are wanted again."""
    run = scored_run(made_run, mode)
    dataset, plan = made_data(run.facts), TrainingPlan(run)
    whole = all_items(undisturbed := coordinator_of(run, made_data), None)
    right = [each.as_record() for each in undisturbed.take_decisions()]
    chance, journal, first = random.Random(seed), [], 0
    for steps, share in [*crashes, (10**6, 0.0)]:
        coordinator = StreamCoordinator(run, dataset, plan, None, decisions(journal))
        coordinator.rewind(first, decisions(journal))
        # Layers may be ahead of what is given out: their scores come before the items.
        told, given = [coordinator.settled] * 3, first
        for _ in range(steps):
            if coordinator.finished:
                break
            item = coordinator.next_item() if chance.random() < 0.4 else None
            if item is not None:
                assert flat(item) == flat(whole[item.number])
                assert item.number == given
                given += 1
            else:
                layer = chance.randrange(3)
                planned = coordinator.scored_item(told[layer])
                if planned is not None and planned.number < given + 3:
                    scores = made_up_scores(layer, whole[planned.number])
                    coordinator.add_scores(layer, planned.number, scores)
                    told[layer] += 1
            journal += [each.as_record() for each in coordinator.take_decisions()]
        assert journal == right[: len(journal)]
        first = int(share * given)
    assert coordinator.finished
    assert journal == right
    assert coordinator.evaluations == undisturbed.evaluations


def test_decisions_of_another_run_are_refused(made_run: MakeRun, made_data: MakeData) -> None:
    run, data = scored_run(made_run), made_data
    dataset, plan = data(run.facts), TrainingPlan(run)
    for wrong in (Decision(1, correct=(1, 1, 1, 1)), Decision(0, correct=(1,)), Decision(99)):
        with pytest.raises(ValueError, match=f'item {wrong.item} is not of this run'):
            StreamCoordinator(run, dataset, plan, None, [wrong])


def test_answers_of_an_evaluation_are_kept(made_run: MakeRun, made_data: MakeData) -> None:
    run = made_run(**settings_of('random', 'swish'))
    plan = EvaluationPlan(run.facts.test_samples, run.evaluation_batch, 40)
    coordinator = StreamCoordinator(run, made_data(run.facts), plan)
    items = all_items(coordinator, None)
    assert [item.number for item in items] == list(range(40, plan.items))
    scored = items[:-1]
    assert len(coordinator.answers) == len(scored)
    for item, (together, *each) in zip(scored, coordinator.answers, strict=True):
        own = [made_up_scores(layer, item) for layer in range(3)]
        assert all(torch.equal(*pair) for pair in zip(each, own, strict=True))
        assert torch.allclose(together, sum(own))
