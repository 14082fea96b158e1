# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Both ends over a channel that loses, repeats, reorders and delays items and credits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dff_nodes.stream.credit import Credit
from dff_nodes.stream.receiver import Receiver, Verdict
from dff_nodes.stream.sender import LONGEST_RESEND_S, Sender, Sent

RESEND_S = 1.0
LARGEST = 10
"""bytes of a message, at most"""


class Link:
    """
    A sender that lives on, a receiver that may restart, and what is under way between them.

    The payload of a message is its number. The receiver's state is the list of what it took;
    a checkpoint remembers its length, a restart cuts the list to one of the newest two.
    """

    def __init__(self, window: int, replay_bytes: int) -> None:
        self.window = window
        self.sender: Sender[int] = Sender(0, replay_bytes, RESEND_S)
        self.receiver: Receiver[int] = Receiver(0, window, incarnation=1)
        self.now = 0.0
        self.items: list[Sent[int]] = []
        self.credits: list[Credit] = []
        self.taken: list[int] = []
        self.checkpoints = [0, 0]
        self.restarts = 0
        self._granted: dict[int, int] = {}
        """incarnation to the highest message that its credits which arrived allow, plus one"""

    def push(self, size: int) -> bool:
        """Send the next message if that is allowed."""
        if not self.sender.has_room(size):
            return False
        self._send([self.sender.push(self.sender.next_sequence, size, self.now)])
        return True

    def _send(self, messages: list[Sent[int]]) -> None:
        for message in messages:
            newest = max(self._granted)
            assert message.sequence < self._granted[newest], 'sent beyond the window'
            self.items.append(message)

    def item_arrives(self, index: int) -> None:
        message = self.items[index % len(self.items)]
        verdict = self.receiver.offer(message.sequence, 1, message.payload)
        assert verdict is not Verdict.STALE
        if self.restarts == 0:
            assert verdict is not Verdict.FULL, 'the window is kept, so there is room'

    def say_credit(self) -> None:
        self.credits.append(self.receiver.credit(durable=min(self.checkpoints)))

    def credit_arrives(self, index: int) -> None:
        credit = self.credits[index % len(self.credits)]
        limit = max(self._granted.get(credit.incarnation, 0), credit.expected + credit.window)
        self._granted[credit.incarnation] = limit
        self._send(self.sender.on_credit(credit, self.now))

    def take(self) -> bool:
        payload = self.receiver.take()
        if payload is not None:
            self.taken.append(payload)
        return payload is not None

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._send(self.sender.overdue(self.now))

    def checkpoint(self) -> None:
        self.checkpoints = [self.checkpoints[1], len(self.taken)]

    def restart(self, newest_is_torn: bool) -> None:
        kept = self.checkpoints[0 if newest_is_torn else 1]
        del self.taken[kept:]
        self.checkpoints = [self.checkpoints[0], kept]
        self.restarts += 1
        self.receiver = Receiver(kept, self.window, self.receiver.incarnation + 1)

    def check(self) -> None:
        """What holds at every moment."""
        assert self.taken == list(range(len(self.taken)))
        assert 0 <= self.sender.kept_bytes <= self.sender.replay_bytes
        assert self.receiver.queued <= self.window
        if self.restarts == 0:
            assert self.sender.in_flight <= self.window
            assert self.sender.next_sequence <= self.receiver.next_taken + self.window

    def all_goes_through(self, messages: int) -> None:
        """From now on nothing is lost: all must arrive within a bounded number of rounds."""
        # Every restart or loss may cost the longest wait once, every message a round or two.
        for _ in range(int(LONGEST_RESEND_S / RESEND_S) + 2 * messages + 10):
            while self.sender.next_sequence < messages and self.push(LARGEST):
                pass
            while self.items:
                self.item_arrives(0)
                del self.items[0]
            while self.take():
                pass
            self.checkpoint()
            self.checkpoint()
            self.say_credit()
            while self.credits:
                self.credit_arrives(0)
                del self.credits[0]
            self.check()
            if self.sender.next_sequence >= messages and self.sender.all_acknowledged:
                break
            self.pass_time(RESEND_S)
        assert self.taken == list(range(max(messages, self.sender.next_sequence)))
        assert self.sender.kept_bytes == 0


EVENTS = (
    'push',
    'item arrives',
    'item arrives and comes again',
    'item is lost',
    'say credit',
    'credit arrives',
    'credit arrives and comes again',
    'credit is lost',
    'take',
    'checkpoint',
    'pass time',
)


def happen(link: Link, event: str, number: int) -> None:
    """Let one thing happen; `number` says which message, how large or how long."""
    if event == 'push':
        link.push(number % (LARGEST + 1))
    elif event.startswith('item') and link.items:
        if 'arrives' in event:
            link.item_arrives(number)
        if 'again' not in event:
            del link.items[number % len(link.items)]
    elif event.startswith('credit') and link.credits:
        if 'arrives' in event:
            link.credit_arrives(number)
        if 'again' not in event:
            del link.credits[number % len(link.credits)]
    elif event == 'say credit':
        link.say_credit()
    elif event == 'take':
        link.take()
    elif event == 'checkpoint':
        link.checkpoint()
    elif event == 'pass time':
        link.pass_time(number / 4)


windows = st.integers(1, 5)
replays = st.integers(LARGEST, 6 * LARGEST)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(windows, replays, st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 40))))
def test_every_message_arrives_once_and_in_order(
    window: int, replay_bytes: int, events: list[tuple[str, int]]
) -> None:
    link = Link(window, replay_bytes)
    for event, number in events:
        happen(link, event, number)
        link.check()
    link.all_goes_through(link.sender.next_sequence + 5)


class RestartingReceiver(RuleBasedStateMachine):
    """The same with a receiver that restarts and falls back to one of its checkpoints."""

    @initialize(window=windows, replay_bytes=replays)
    def begin(self, window: int, replay_bytes: int) -> None:
        self.link = Link(window, replay_bytes)
        self.link.say_credit()
        self.link.credit_arrives(0)

    @rule(event=st.sampled_from(EVENTS), number=st.integers(0, 40))
    def something_happens(self, event: str, number: int) -> None:
        happen(self.link, event, number)

    @rule(messages=st.integers(1, 5))
    def a_good_moment(self, messages: int) -> None:
        """Some messages pass as they should, so that there is something to fall back from."""
        link = self.link
        for _ in range(messages):
            if link.push(LARGEST // 2):
                link.item_arrives(-1)
        while link.take():
            pass
        link.say_credit()
        link.credit_arrives(-1)

    @rule(newest_is_torn=st.booleans())
    def receiver_restarts(self, newest_is_torn: bool) -> None:
        self.link.restart(newest_is_torn)

    @precondition(lambda self: self.link.items)
    @rule()
    def all_items_are_lost(self) -> None:
        self.link.items.clear()

    @invariant()
    def in_order_and_within_bounds(self) -> None:
        self.link.check()

    def teardown(self) -> None:
        if hasattr(self, 'link'):
            self.link.all_goes_through(self.link.sender.next_sequence + 5)


def test_a_receiver_may_restart_at_any_moment() -> None:
    run_state_machine_as_test(
        RestartingReceiver,
        settings=settings(
            deadline=None, derandomize=True, max_examples=150, stateful_step_count=40
        ),
    )


@pytest.mark.parametrize('lost', ['items', 'credits'])
def test_a_channel_that_loses_all_of_one_kind_for_long_recovers(lost: str) -> None:
    link = Link(window=3, replay_bytes=1000)
    link.say_credit()
    link.credit_arrives(0)
    for _ in range(100):
        while link.push(1):
            pass
        if lost == 'credits':
            for index in range(len(link.items)):
                link.item_arrives(index)
        link.items.clear()
        link.take()
        link.say_credit()
        if lost == 'items':
            link.credit_arrives(-1)
        link.credits.clear()
        link.pass_time(RESEND_S)
        link.check()
    assert link.sender.next_sequence == 3, 'no more than the window without progress'
    link.all_goes_through(30)


def test_a_replay_goes_at_the_speed_of_the_credit() -> None:
    """A restarted receiver gets what it lost window by window, without waiting for a timer."""
    link = Link(window=2, replay_bytes=1000)
    link.say_credit()
    link.credit_arrives(0)
    for _ in range(20):
        link.push(1)
        link.item_arrives(-1)
        link.take()
        link.say_credit()
        link.credit_arrives(-1)
    assert len(link.taken) == 20
    link.restart(newest_is_torn=False)
    link.items.clear()
    for _ in range(11):
        link.say_credit()
        link.credit_arrives(-1)
        for index in range(len(link.items)):
            link.item_arrives(index)
        link.items.clear()
        while link.take():
            pass
    assert link.taken == list(range(20)), 'the clock stood still'
