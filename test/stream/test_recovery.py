# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
A chain of stages that crash, lose checkpoints and go back, over channels that spoil everything.

Sender, Receiver and CheckpointSaver are the real ones. What the nodes do with them, in link.py,
layer_node.py and coordinator_node.py, is modelled here without ROS: a thread is a generator that
yields wherever the real one waits or may be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dff_nodes.runs import checkpoint_saver
from dff_nodes.runs.checkpoint import CheckpointInfo
from dff_nodes.runs.checkpoint_saver import CheckpointSaver
from dff_nodes.stream.credit import Credit
from dff_nodes.stream.receiver import Receiver, Verdict
from dff_nodes.stream.sender import LONGEST_RESEND_S, Rewind, Sender, Sent, StreamError

STAGES = 3
ITEMS = 24
LAG = 3
"""scored items between one and the item that its decision goes into"""
SCORED = [item for item in range(ITEMS) if item % 3 != 1]
LARGEST = 10
"""bytes of an item, at most"""
LEAST_REPLAY = 4 * LARGEST
"""as the configuration demands"""
SCORE_BYTES = 2
RESEND_S = 1.0
SAVE_AT_SHARE = 0.25
"""as in layer_node.py where the room holds few items"""
ASK_AT_SHARE = 0.2
"""as in coordinator_node.py then"""
RUN = 'r' * 32, 'c' * 64


# ---- the right answer ------------------------------------------------------------------------


def digest(*values: int) -> int:
    """Mix numbers so that no other order or number of them gives the same."""
    return hash(values)


def fed_value(item: int, decisions: dict[int, int]) -> int:
    """Give what the source makes of an item; those that are not scored need a decision."""
    return digest(item, decisions[needed(item)] if needed(item) is not None else 0)


def needed(item: int) -> int | None:
    """Which item must have been decided before this one can be made."""
    return SCORED[SCORED.index(item - 1) - LAG] if item % 3 == 1 and item > 3 * LAG else None


@dataclass(frozen=True)
class Answer:
    """What a run without faults comes to."""

    decisions: dict[int, int]
    inputs: list[list[int]]
    """of each stage: value of each item that comes in"""
    states: list[list[int]]
    """of each stage: before each item, and at the end"""


@cache
def right_answer() -> Answer:
    """Let all items pass all stages, one by one."""
    answer = Answer({}, [[] for _ in range(STAGES)], [[0] for _ in range(STAGES)])
    for item in range(ITEMS):
        value = fed_value(item, answer.decisions)
        scores = []
        for stage in range(STAGES):
            answer.inputs[stage].append(value)
            before = answer.states[stage][-1]
            answer.states[stage].append(digest(before, value))
            scores.append(digest(stage, before, value))
            value = digest(value, before)
        if item in SCORED:
            answer.decisions[item] = digest(*scores)
    return answer


# ---- links, as in link.py --------------------------------------------------------------------


class Rewound(Exception):
    """A receiver wants what is kept no more."""


@dataclass(frozen=True)
class Message:
    """What travels over a link."""

    sequence: int
    incarnation: int
    content: Any


@dataclass
class Wire:
    """What is under way between two ends, which may live shorter than it."""

    messages: list[Message] = field(default_factory=list)
    credits: list[Credit] = field(default_factory=list)


class Outgoing:
    """OutgoingLink without ROS."""

    def __init__(self, world: World, wire: Wire, end: int) -> None:
        self.world = world
        self.wire = wire
        self.end = end
        self.sender: Sender[Message] | None = None
        self.credit: Credit | None = None
        self.rewound = False

    @property
    def wanted(self) -> int:
        return self.credit.expected if self.credit else 0

    def begin(self, first: int) -> None:
        self.sender = Sender(first, self.world.replay_bytes, RESEND_S, self.end)
        self.rewound = False
        if self.credit is not None:
            self._take_in(self.credit)

    def has_room(self, size: int) -> bool:
        return self.sender is not None and self.sender.has_room(size)

    def send(self, content: Any, size: int, incarnation: int) -> None:
        message = Message(self.sender.next_sequence, incarnation, content)
        sent = self.sender.push(message, size, self.world.now)
        self._publish([sent] if sent is not None else [])

    def on_credit(self, credit: Credit) -> None:
        if credit.expected > self.end or credit.durable > credit.expected:
            self.world.refused += 1
            return
        try:
            again = self._take_in(credit)
        except StreamError:
            self.world.refused += 1
            return
        known = self.credit
        if known is None or (credit.incarnation, credit.expected) >= (
            known.incarnation,
            known.expected,
        ):
            self.credit = credit
        self._publish(again)

    def _take_in(self, credit: Credit) -> list[Sent[Message]]:
        if self.sender is None:
            return []
        try:
            return self.sender.on_credit(credit, self.world.now)
        except Rewind:
            self.rewound = True
            return []

    def send_overdue(self) -> None:
        self._publish(self.sender.overdue(self.world.now) if self.sender else [])

    def _publish(self, messages: list[Sent[Message]]) -> None:
        self.wire.messages += [sent.payload for sent in messages]


class Incoming:
    """IncomingLink without ROS."""

    def __init__(
        self, wire: Wire, durable: Callable[[], int], size_of: Callable[[int], int]
    ) -> None:
        self.wire = wire
        self.receiver: Receiver[Any] | None = None
        self.taken_bytes = 0
        self._durable = durable
        self._size_of = size_of

    def begin(self, receiver: Receiver[Any]) -> None:
        self.receiver = receiver
        self.give_credit()

    def offer(self, message: Message) -> None:
        receiver = self.receiver
        if receiver is None or not receiver.may_come(message.sequence):
            return
        verdict = receiver.offer(message.sequence, message.incarnation, message.content)
        if verdict not in (Verdict.ACCEPTED, Verdict.STALE):
            self.give_credit()

    def take(self) -> Any | None:
        content = self.receiver.take()
        if content is not None:
            self.taken_bytes += self._size_of(content[0])
        if self.receiver.credit_is_due:
            self.give_credit()
        return content

    def give_credit(self) -> None:
        if self.receiver is not None:
            self.wire.credits.append(self.receiver.credit(self._durable()))


# ---- a stage, as LayerNode -------------------------------------------------------------------


class Unfinished:
    """A checkpoint that is written and not yet durable."""

    def __init__(self, disk: Disk, info: CheckpointInfo, state: int) -> None:
        self.disk = disk
        self.info = info
        self.state = state

    def finish(self) -> CheckpointInfo:
        """Put it in its place, unless it was swept away meanwhile."""
        if self.disk.unfinished is not self:
            raise FileNotFoundError(f'checkpoint {self.info.next_item} is there no more')
        self.disk.unfinished = None
        self.disk.whole[self.info.next_item] = self.info, self.state
        return self.info


class Disk:
    """CheckpointStore in memory: what outlives a crash, except for what the crash tears."""

    def __init__(self) -> None:
        self.whole: dict[int, tuple[CheckpointInfo, int]] = {}
        self.unfinished: Unfinished | None = None

    def begin(self, info: CheckpointInfo, state: int) -> Unfinished:
        self.unfinished = Unfinished(self, info, state)
        return self.unfinished

    def sweep(self) -> None:
        self.unfinished = None

    def valid(self, *run: str) -> tuple[list[CheckpointInfo], list[str]]:
        return [info for _, (info, _) in sorted(self.whole.items())], []

    def keep(self, items: Collection[int]) -> None:
        self.whole = {item: self.whole[item] for item in self.whole if item in items}

    def load(self, item: int, *run: str) -> tuple[CheckpointInfo, int]:
        return self.whole[item]

    def lose(self, newest: int) -> None:
        """Tear so many of the newest checkpoints."""
        for item in sorted(self.whole, reverse=True)[:newest]:
            del self.whole[item]


class ByHand:
    """A thread that does what it was given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, Callable[[], None]]] = []

    def submit(self, work: Callable[[], None]) -> Future:
        self.waiting.append((Future(), work))
        return self.waiting[-1][0]

    def go_on(self) -> None:
        while self.waiting:
            future, work = self.waiting.pop()
            try:
                future.set_result(work())
            except OSError as error:
                future.set_exception(error)


class Stage:
    """LayerNode without ROS: its state is a fold of the items that it handled."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.disk = Disk()
        self.incarnation = 0
        self.working: Iterator[None] | None = None

    def start(self) -> None:
        """Be a new process on the same disk."""
        world, index = self.world, self.index
        self.thread = ByHand()
        with patch.object(checkpoint_saver, 'ThreadPoolExecutor', lambda *_: self.thread):
            self.saver = CheckpointSaver(self.disk, *RUN)
        self.incarnation += 1
        self.incoming = Incoming(
            world.hops[index], self._durable, lambda item: world.size_of(item, index)
        )
        self.scores = Outgoing(world, world.scores[index], ITEMS)
        last = index == STAGES - 1
        self.outgoing = None if last else Outgoing(world, world.hops[index + 1], ITEMS)
        self.next_item: int | None = None
        self.working = self._work()

    def stop(self) -> None:
        """Be killed."""
        self.working = None

    @property
    def links(self) -> list[Outgoing]:
        """Links to its receivers."""
        return [link for link in (self.scores, self.outgoing) if link is not None]

    @property
    def done(self) -> bool:
        """Whether it told its final figures."""
        return self.next_item == ITEMS

    def _work(self) -> Iterator[None]:
        while True:
            try:
                yield from self._restore()
                while self.next_item < ITEMS:
                    yield from self._handle()
                while True:
                    self._check()
                    yield
            except Rewound:
                self.incarnation += 1
                self.next_item = None

    def _check(self) -> None:
        if any(link.rewound for link in self.links):
            raise Rewound

    def _restore(self) -> Iterator[None]:
        yield from self._restored()
        self.saver.go_back_to(self.next_item)
        if self.outgoing is not None:
            self.outgoing.begin(self.next_item)
        self.scores.begin(self.scored)
        self.taken_at_save = self.incoming.taken_bytes
        self.incoming.begin(Receiver(self.next_item, self.world.window, self.incarnation))

    def _restored(self) -> Iterator[None]:
        self.thread.go_on()
        self.saver.look()
        self.scored, self.state, first = 0, 0, 0
        if self.saver.saved:
            while any(link.credit is None for link in self.links):
                yield
            self.saver.forget(self._can_begin_at)
            info = self.saver.newest(self._can_begin_at)
            if info is not None:
                first, self.scored = info.next_item, info.scored
                _, self.state = self.disk.load(first, *RUN)
        self.next_item = first

    def _durable(self) -> int:
        self.saver.promise(self._can_begin_at)
        return self.saver.durable

    def _can_begin_at(self, info: CheckpointInfo) -> bool:
        behind = self.outgoing is None or info.next_item <= self.outgoing.wanted
        return behind and info.scored <= self.scores.wanted

    def _handle(self) -> Iterator[None]:
        self._check()
        while (content := self.incoming.take()) is None:
            yield
            self._check()
        item, value, save = content
        answer = right_answer()
        assert item == self.next_item, 'items come in order, each once'
        assert value == answer.inputs[self.index][item], 'an item is the same each time'
        before, self.state = self.state, digest(self.state, value)
        self.next_item += 1
        self.scored += item in SCORED
        yield
        if item in SCORED:
            score = item, digest(self.index, before, value)
            yield from self._send(self.scores, score, SCORE_BYTES)
        if self.outgoing is not None:
            content = item, digest(value, before), save
            yield from self._send(self.outgoing, content, self.world.size_of(item, self.index + 1))
        yield
        yield from self._save_if_due(save)

    def _send(self, link: Outgoing, content: Any, size: int) -> Iterator[None]:
        while not link.has_room(size):
            self._check()
            yield
        link.send(content, size, self.incarnation)
        yield

    def _save_if_due(self, save: bool) -> Iterator[None]:
        kept = self.incoming.taken_bytes - self.taken_at_save
        filling = kept > SAVE_AT_SHARE * self.world.replay_bytes
        error = self.saver.take_error()
        assert error is None, error
        if save or filling:
            self.taken_at_save = self.incoming.taken_bytes
            while self.thread.waiting:
                self._check()
                yield
            info = CheckpointInfo(*RUN, self.index, self.next_item, self.incarnation, self.scored)
            self.saver.save(info, self.state, self._on_saved)

    def _on_saved(self) -> None:
        self.saver.forget(self._can_begin_at)
        self.incoming.give_credit()

    def check(self) -> None:
        """What holds at every moment."""
        if self.working is None or self.next_item is None:
            return
        assert self.state == right_answer().states[self.index][self.next_item]
        assert self.scored == sum(item < self.next_item for item in SCORED)
        for link in self.links:
            assert link.sender is None or 0 <= link.sender.kept_bytes <= self.world.replay_bytes
        for item, (info, state) in self.disk.whole.items():
            assert info.next_item == item
            assert state == right_answer().states[self.index][item]


# ---- the source, as CoordinatorNode ----------------------------------------------------------


class Source:
    """CoordinatorNode without ROS: feeds items and decides from the scores of all stages."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.journal: list[tuple[int, int]] = []
        self.durable = 0
        """records of the journal that no crash can take"""
        self.incarnation = 0
        self.working: Iterator[None] | None = None

    def start(self) -> None:
        """Be a new process with the same journal."""
        self.incarnation += 1
        self.synced = 0
        self.partial: dict[int, dict[int, int]] = {}
        self.next_item: int | None = None
        self.bytes_since_save = 0
        self.save_next = False
        self.items = Outgoing(self.world, self.world.hops[0], ITEMS)
        self.scores = [
            Incoming(wire, lambda: self.synced, lambda _: SCORE_BYTES)
            for wire in self.world.scores
        ]
        for link in self.scores:
            link.begin(Receiver(len(self.journal), self.world.window, self.incarnation))
        self.working = self._work()

    def stop(self, lost_records: int = 0) -> None:
        """Be killed; a power failure also takes records that were not synced."""
        self.working = None
        del self.journal[max(self.durable, len(self.journal) - lost_records) :]

    def sync(self) -> None:
        """Make the journal durable."""
        self.synced = self.durable = len(self.journal)

    @property
    def links(self) -> list[Outgoing]:
        """Links to its receivers."""
        return [self.items]

    @property
    def done(self) -> bool:
        """Whether all was fed and all is decided."""
        return self.next_item == ITEMS and len(self.journal) == len(SCORED)

    def _work(self) -> Iterator[None]:
        while True:
            try:
                while self.items.credit is None:
                    yield
                self.next_item = self.items.credit.durable
                self.items.begin(self.next_item)
                while True:
                    self._check()
                    yield from self._feed()
                    yield
            except Rewound:
                self.next_item = None

    def _check(self) -> None:
        if self.items.rewound:
            raise Rewound

    def _feed(self) -> Iterator[None]:
        for stage, link in enumerate(self.scores):
            while (content := link.take()) is not None:
                self._add_score(stage, *content)
                yield
        decisions = dict(self.journal)
        item = self.next_item
        if item == ITEMS or needed(item) not in (None, *decisions):
            return
        if self.items.has_room(self.world.size_of(item, 0)):
            save = self._save_is_due(item)
            content = item, fed_value(item, decisions), save
            self.items.send(content, self.world.size_of(item, 0), self.incarnation)
            self.next_item += 1

    def _save_is_due(self, item: int) -> bool:
        due = self.bytes_since_save >= ASK_AT_SHARE * self.world.replay_bytes
        save = due or self.save_next or item == ITEMS - 1
        largest = max(self.world.size_of(item, hop) for hop in range(STAGES))
        self.bytes_since_save = 0 if save else self.bytes_since_save + largest
        self.save_next = False
        return save

    def _add_score(self, stage: int, item: int, score: int) -> None:
        scores = self.partial.setdefault(item, {})
        assert item in SCORED[len(self.journal) :], 'nothing is decided twice'
        assert stage not in scores, 'a score comes once'
        scores[stage] = score
        while len(self.journal) < len(SCORED):
            first = SCORED[len(self.journal)]
            scores = self.partial.get(first, {})
            if len(scores) < STAGES:
                return
            decision = digest(*(scores[stage] for stage in range(STAGES)))
            assert decision == right_answer().decisions[first]
            self.journal.append((first, decision))

    def check(self) -> None:
        """What holds at every moment."""
        if self.working is not None and self.items.sender is not None:
            assert 0 <= self.items.sender.kept_bytes <= self.world.replay_bytes


# ---- all together ----------------------------------------------------------------------------


class World:
    """A source, its stages, and what is under way between them."""

    def __init__(self, window: int, replay_bytes: int, sizes: list[int]) -> None:
        self.window = window
        self.sizes = sizes
        self.replay_bytes = replay_bytes
        self.now = 0.0
        self.refused = 0
        self.hops = [Wire() for _ in range(STAGES)]
        self.scores = [Wire() for _ in range(STAGES)]
        self.wires = [*self.hops, *self.scores]
        self.source = Source(self)
        self.stages = [Stage(self, index) for index in range(STAGES)]
        self.nodes = [self.source, *self.stages]
        for node in self.nodes:
            node.start()

    def size_of(self, item: int, hop: int) -> int:
        """Bytes of an item on one hop."""
        return self.sizes[(item + hop) % len(self.sizes)]

    def message_arrives(self, wire: int, which: int, again: bool) -> None:
        """Let one message arrive, for the last time or not."""
        messages = self.wires[wire].messages
        message = messages[which] if again else messages.pop(which)
        node = self.stages[wire] if wire < STAGES else self.source
        if node.working is not None:
            link = node.incoming if wire < STAGES else node.scores[wire - STAGES]
            link.offer(message)

    def credit_arrives(self, wire: int, which: int, again: bool) -> None:
        """Let one credit arrive, for the last time or not."""
        credits = self.wires[wire].credits
        credit = credits[which] if again else credits.pop(which)
        node = self.nodes[wire] if wire < STAGES else self.stages[wire - STAGES]
        if node.working is not None:
            link = node.links[-1] if wire < STAGES else node.scores
            link.on_credit(credit)

    def work(self, node: int, steps: int) -> None:
        for _ in range(steps):
            if self.nodes[node].working is not None:
                next(self.nodes[node].working)

    def give_credit(self) -> None:
        """All that live repeat their credit, as a timer lets them."""
        for node in self.nodes:
            if node.working is not None:
                for link in node.scores if node is self.source else [node.incoming]:
                    link.give_credit()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for node in self.nodes:
            for link in node.links if node.working is not None else []:
                link.send_overdue()

    def go_on(self) -> None:
        """Nothing is lost for a moment: all that is under way arrives, and all go on."""
        for wire in range(len(self.wires)):
            for _ in range(len(self.wires[wire].messages)):
                self.message_arrives(wire, 0, again=False)
            for _ in range(len(self.wires[wire].credits)):
                self.credit_arrives(wire, 0, again=False)
        for node in range(len(self.nodes)):
            self.work(node, 4)
        for stage in self.stages:
            if stage.working is not None:
                stage.thread.go_on()

    def all_goes_through(self) -> None:
        """From now on nothing fails: the run must end, with the right answer."""
        for node in self.nodes:
            if node.working is None:
                node.start()
        for _ in range(400):
            self.go_on()
            self.give_credit()
            self.source.sync()
            self.check()
            self.pass_time(LONGEST_RESEND_S / 8)
            if all(node.done for node in self.nodes):
                break
        assert [node.next_item for node in self.nodes] == [ITEMS] * (STAGES + 1), 'it goes on'
        assert dict(self.source.journal) == right_answer().decisions
        assert [each.state for each in self.stages] == [
            states[-1] for states in right_answer().states
        ]

    def check(self) -> None:
        for node in self.nodes:
            node.check()


wires = st.integers(0, 2 * STAGES - 1)
nodes = st.integers(0, STAGES)


class Chain(RuleBasedStateMachine):
    """Anything may happen to a chain at any moment."""

    @initialize(
        window=st.integers(1, 5),
        replay=st.integers(LEAST_REPLAY, 3 * LEAST_REPLAY),
        sizes=st.lists(st.integers(1, LARGEST), min_size=1, max_size=5),
    )
    def begin(self, window: int, replay: int, sizes: list[int]) -> None:
        self.world = World(window, replay, sizes)

    @rule(rounds=st.integers(1, 8))
    def all_is_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.go_on()

    @rule(node=nodes, steps=st.integers(1, 8))
    def one_works(self, node: int, steps: int) -> None:
        self.world.work(node, steps)

    @rule(wire=wires, which=st.integers(0, 30), again=st.booleans(), lost=st.booleans())
    def a_message_moves(self, wire: int, which: int, again: bool, lost: bool) -> None:
        messages = self.world.wires[wire].messages
        if messages and lost:
            del messages[which % len(messages)]
        elif messages:
            self.world.message_arrives(wire, which % len(messages), again)

    @rule(wire=wires, which=st.integers(0, 30), again=st.booleans(), lost=st.booleans())
    def a_credit_moves(self, wire: int, which: int, again: bool, lost: bool) -> None:
        credits = self.world.wires[wire].credits
        if credits and lost:
            del credits[which % len(credits)]
        elif credits:
            self.world.credit_arrives(wire, which % len(credits), again)

    @rule(wire=wires)
    def all_under_way_is_lost(self, wire: int) -> None:
        self.world.wires[wire].messages.clear()
        self.world.wires[wire].credits.clear()

    @rule()
    def credit_is_repeated(self) -> None:
        self.world.give_credit()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(stage=st.integers(0, STAGES - 1))
    def a_checkpoint_is_durable(self, stage: int) -> None:
        if self.world.stages[stage].working is not None:
            self.world.stages[stage].thread.go_on()

    @rule()
    def a_checkpoint_is_asked_for(self) -> None:
        if self.world.source.working is not None:
            self.world.source.save_next = True

    @rule()
    def the_journal_is_synced(self) -> None:
        if self.world.source.working is not None:
            self.world.source.sync()

    @rule(
        crashed=st.sets(nodes, min_size=1),
        torn=st.lists(st.sampled_from([0, 0, 0, 1, 2, ITEMS]), min_size=4, max_size=4),
        at_once=st.booleans(),
    )
    def some_crash(self, crashed: set[int], torn: list[int], at_once: bool) -> None:
        for node in crashed:
            if node == 0:
                self.world.source.stop(torn[0])
            else:
                self.world.nodes[node].stop()
                self.world.nodes[node].disk.lose(torn[node])
        for node in crashed if at_once else ():
            self.world.nodes[node].start()

    @rule(node=nodes)
    def one_comes_back(self, node: int) -> None:
        if self.world.nodes[node].working is None:
            self.world.nodes[node].start()

    @precondition(lambda self: hasattr(self, 'world'))
    @invariant()
    def each_is_where_the_items_lead(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, 'world'):
            self.world.all_goes_through()


def test_a_chain_recovers_from_anything() -> None:
    run_state_machine_as_test(
        Chain,
        settings=settings(
            deadline=None, derandomize=True, max_examples=200, stateful_step_count=40
        ),
    )


def test_a_chain_without_faults_comes_to_the_right_answer() -> None:
    world = World(3, LEAST_REPLAY, [LARGEST])
    world.all_goes_through()
    assert world.refused == 0
