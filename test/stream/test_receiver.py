# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The receiving end alone: what becomes of each message, and what it tells its sender."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.stream.credit import Credit
from dff_nodes.stream.receiver import Receiver, Verdict


def test_messages_come_out_in_order_and_once() -> None:
    receiver = Receiver(first=5, capacity=3, incarnation=1)
    assert receiver.take() is None
    assert [receiver.offer(number, 1, f'm{number}') for number in (5, 6)] == [Verdict.ACCEPTED] * 2
    assert (receiver.expected, receiver.queued, receiver.next_taken) == (7, 2, 5)
    assert receiver.take() == 'm5'
    assert (receiver.expected, receiver.queued, receiver.next_taken) == (7, 1, 6)
    assert receiver.take() == 'm6'
    assert receiver.take() is None
    assert receiver.next_taken == 7


def test_a_duplicate_is_counted_and_changes_nothing_else() -> None:
    receiver = Receiver(0, 4, 1)
    receiver.offer(0, 1, 'first')
    before = receiver.credit()
    assert receiver.offer(0, 1, 'again') is Verdict.DUPLICATE
    assert receiver.duplicates == 1
    assert receiver.credit() == before
    assert receiver.take() == 'first'
    assert receiver.offer(0, 1, 'after it was taken') is Verdict.DUPLICATE
    assert receiver.duplicates == 2
    assert receiver.take() is None


def test_what_came_before_the_first_is_a_duplicate() -> None:
    receiver = Receiver(10, 4, 1)
    assert receiver.offer(9, 1, 'old') is Verdict.DUPLICATE
    assert receiver.expected == 10
    assert receiver.take() is None


def test_a_gap_is_reported_until_it_is_filled() -> None:
    receiver = Receiver(0, 4, 1)
    assert not receiver.credit().missing
    assert receiver.offer(2, 1, 'too early') is Verdict.GAP
    assert receiver.credit().missing
    assert receiver.take() is None
    assert receiver.offer(0, 1, 'm0') is Verdict.ACCEPTED
    assert not receiver.credit().missing
    assert receiver.offer(2, 1, 'too early still') is Verdict.GAP
    assert receiver.credit() == Credit(1, expected=1, window=3, durable=1, missing=True)


def test_a_sender_that_ignores_the_window_is_refused() -> None:
    receiver = Receiver(0, 2, 1)
    for number in (0, 1):
        receiver.offer(number, 1, number)
    assert receiver.credit().window == 0
    assert receiver.offer(2, 1, 2) is Verdict.FULL
    assert (receiver.expected, receiver.queued) == (2, 2)
    receiver.take()
    assert receiver.offer(2, 1, 2) is Verdict.ACCEPTED


@pytest.mark.parametrize('sequence', [0, 1, 2, 5])
def test_a_replaced_sender_is_ignored(sequence: int) -> None:
    receiver = Receiver(0, 4, 1)
    receiver.offer(0, 2, 'of the new one')
    before = receiver.credit()
    assert receiver.offer(sequence, 1, 'of the old one') is Verdict.STALE
    assert receiver.credit() == before
    assert receiver.duplicates == 0
    assert receiver.queued == 1


def test_a_new_sender_goes_on_where_the_old_one_stopped() -> None:
    receiver = Receiver(0, 4, 1)
    receiver.offer(0, 1, 'm0')
    assert receiver.offer(0, 2, 'm0 again') is Verdict.DUPLICATE
    assert receiver.offer(1, 1, 'm1') is Verdict.ACCEPTED, 'a duplicate was not looked into'
    assert receiver.offer(2, 2, 'm2') is Verdict.ACCEPTED
    assert receiver.offer(3, 1, 'late') is Verdict.STALE
    assert [receiver.take() for _ in range(3)] == ['m0', 'm1', 'm2']


def test_credit_tells_what_is_durable() -> None:
    receiver = Receiver(3, 4, incarnation=7)
    receiver.offer(3, 1, 'm3')
    assert receiver.credit() == Credit(7, expected=4, window=3, durable=4)
    assert receiver.credit(durable=3) == Credit(7, expected=4, window=3, durable=3)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 12), st.integers(0, 2)))),
    st.integers(1, 4),
)
def test_a_place_once_given_is_never_taken_back(
    events: list[tuple[int, int] | None], capacity: int
) -> None:
    receiver = Receiver(0, capacity, 1)
    given_before, taken = 0, []
    for event in events:
        if event is None:
            payload = receiver.take()
            taken += [] if payload is None else [payload]
        else:
            receiver.offer(event[0], event[1], event[0])
        credit = receiver.credit()
        assert credit.expected + credit.window >= given_before
        assert 0 <= credit.window <= capacity
        given_before = credit.expected + credit.window
    assert taken == list(range(len(taken)))
