# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The sending end alone: credit, replay within its bound, and sending again."""

from __future__ import annotations

from typing import Any

import pytest

from dff_nodes.stream.credit import Credit
from dff_nodes.stream.sender import (
    FULL_WAITS,
    GAP_SHARE,
    LARGEST_LEAP,
    LONGEST_RESEND_S,
    NoCredit,
    Rewind,
    Sender,
    StreamError,
)

RESEND_S = 2.0


def credit(expected: int, window: int, **more: Any) -> Credit:
    """Make a credit of incarnation 1 to whose receiver all that it has is durable."""
    return Credit(
        **{'incarnation': 1, 'durable': expected} | more, expected=expected, window=window
    )


def sender_with(pushed: int, window: int = 8, replay_bytes: int = 1000) -> Sender:
    """Make a sender that pushed messages of 10 bytes at time 0."""
    sender: Sender = Sender(0, replay_bytes, RESEND_S)
    sender.on_credit(credit(0, window), 0.0)
    for number in range(pushed):
        sender.push(f'm{number}', 10, 0.0)
    return sender


def numbers(sent: list) -> list[int]:
    """Give the sequence numbers, and check that each has its own payload."""
    assert [each.payload for each in sent] == [f'm{each.sequence}' for each in sent]
    return [each.sequence for each in sent]


def test_nothing_goes_out_before_the_first_credit() -> None:
    sender: Sender = Sender(0, 100, RESEND_S)
    assert not sender.has_room(0)
    assert sender.heard_s is None
    with pytest.raises(NoCredit, match='message 0 of 5 bytes'):
        sender.push('m0', 5, 0.0)
    assert (sender.next_sequence, sender.kept_bytes) == (0, 0)
    assert sender.overdue(1000.0) == []


def test_the_window_is_the_limit() -> None:
    sender = sender_with(pushed=3, window=3)
    assert sender.in_flight == 3
    assert not sender.has_room(0)
    with pytest.raises(NoCredit, match='credit up to 3'):
        sender.push('m3', 1, 0.0)
    sender.on_credit(credit(1, 3), 1.0)
    assert sender.has_room(0)
    assert sender.push('m3', 10, 1.0).sequence == 3
    assert not sender.has_room(0)
    assert sender.heard_s == 1.0


def test_numbers_begin_with_the_first() -> None:
    sender: Sender = Sender(40, 100, RESEND_S)
    sender.on_credit(credit(40, 2), 0.0)
    assert [sender.push('', 1, 0.0).sequence for _ in range(2)] == [40, 41]
    assert not sender.has_room(0)
    assert not sender.all_acknowledged
    sender.on_credit(credit(42, 2), 0.0)
    assert sender.all_acknowledged
    assert sender.in_flight == 0


def test_a_late_credit_takes_nothing_back() -> None:
    sender = sender_with(pushed=0, window=8)
    sender.on_credit(credit(0, 2), 0.0)
    for number in range(8):
        sender.push(f'm{number}', 10, 0.0)
    sender.on_credit(credit(6, 4), 1.0)
    sender.on_credit(credit(3, 2), 2.0)
    assert sender.acknowledged == 6
    assert sender.in_flight == 2
    assert [sender.push('', 10, 2.0).sequence for _ in range(2)] == [8, 9]
    assert not sender.has_room(0)


def test_replay_is_bounded_until_messages_are_durable() -> None:
    sender = sender_with(pushed=3, window=100, replay_bytes=35)
    assert sender.has_room(5)
    assert not sender.has_room(6)
    with pytest.raises(NoCredit, match='30 of 35 bytes kept'):
        sender.push('m3', 6, 0.0)
    sender.on_credit(credit(3, 100, durable=0), 0.0)
    assert sender.kept_bytes == 30
    assert not sender.has_room(6)
    sender.on_credit(credit(3, 100, durable=2), 0.0)
    assert sender.kept_bytes == 10
    assert sender.has_room(25)
    assert not sender.has_room(26)


def test_what_is_not_acknowledged_is_kept_whatever_durable_says() -> None:
    sender = sender_with(pushed=3)
    sender.on_credit(credit(1, 8, durable=3), 0.0)
    assert sender.kept_bytes == 20
    assert numbers(sender.overdue(RESEND_S)) == [1, 2]


def test_a_reported_gap_is_filled_soon_but_not_at_once() -> None:
    sender = sender_with(pushed=3)
    sender.on_credit(credit(1, 8), 0.1)
    missing = credit(1, 8, missing=True)
    soon = GAP_SHARE * RESEND_S
    assert sender.on_credit(missing, soon - 0.01) == []
    assert numbers(sender.on_credit(missing, soon)) == [1, 2]
    assert sender.resent == 2
    assert sender.on_credit(missing, soon + 0.01) == [], 'it was sent a moment ago'
    assert numbers(sender.on_credit(missing, 2 * soon)) == [1, 2]


def test_an_outdated_report_of_a_gap_is_ignored() -> None:
    sender = sender_with(pushed=3)
    sender.on_credit(credit(2, 8), 1.0)
    assert sender.on_credit(credit(1, 8, missing=True), 100.0) == []


def test_nothing_is_sent_again_once_it_has_arrived() -> None:
    sender = sender_with(pushed=3)
    sender.on_credit(credit(3, 8, durable=0), 0.0)
    assert sender.kept_bytes == 30
    assert sender.overdue(1e6) == []
    assert sender.on_credit(credit(3, 8, durable=0, missing=True), 1e6) == []


def test_silence_is_waited_for_twice_as_long_each_time() -> None:
    sender = sender_with(pushed=1)
    now, waits = 0.0, []
    while len(waits) < 8:
        began = now
        while not sender.overdue(now):
            now += 0.5
        waits.append(now - began)
    assert waits == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert waits[-1] == LONGEST_RESEND_S


def test_progress_makes_the_wait_short_again() -> None:
    sender = sender_with(pushed=2)
    assert sender.overdue(RESEND_S)
    assert sender.overdue(3 * RESEND_S)
    sender.on_credit(credit(0, 8), 7.0)
    assert sender.overdue(7.0 + RESEND_S) == [], 'a credit without progress changes nothing'
    sender.on_credit(credit(1, 8), 9.0)
    assert sender.overdue(3 * RESEND_S + RESEND_S - 0.1) == []
    assert numbers(sender.overdue(3 * RESEND_S + RESEND_S)) == [1]


def test_a_restarted_receiver_is_replayed_from_where_it_fell_back_to() -> None:
    sender = sender_with(pushed=6)
    sender.on_credit(credit(6, 8, durable=2), 1.0)
    again = sender.on_credit(credit(3, 8, incarnation=2, durable=2), 1.0)
    assert numbers(again) == [3, 4, 5]
    assert sender.acknowledged == 3
    assert not sender.all_acknowledged


def test_the_replay_respects_the_new_window_and_goes_on_with_it() -> None:
    sender = sender_with(pushed=6)
    sender.on_credit(credit(6, 8, durable=0), 1.0)
    assert numbers(sender.on_credit(credit(0, 2, incarnation=2), 1.0)) == [0, 1]
    assert not sender.has_room(0)
    assert numbers(sender.on_credit(credit(2, 2, incarnation=2), 1.1)) == [2, 3]
    assert numbers(sender.on_credit(credit(3, 2, incarnation=2), 1.2)) == [4]
    assert sender.on_credit(credit(3, 2, incarnation=2), 1.3) == []
    assert numbers(sender.on_credit(credit(5, 2, incarnation=2), 1.4)) == [5]
    assert sender.resent == 6
    assert sender.has_room(0)


def test_credits_from_before_a_restart_are_ignored() -> None:
    sender = sender_with(pushed=6)
    sender.on_credit(credit(2, 2, incarnation=2, durable=2), 1.0)
    assert sender.on_credit(credit(6, 8, missing=True), 50.0) == []
    assert (sender.acknowledged, sender.kept_bytes, sender.heard_s) == (2, 40, 1.0)
    assert not sender.has_room(0)


def test_a_receiver_cannot_have_what_there_is_not() -> None:
    sender: Sender = Sender(0, 1000, RESEND_S, end=5)
    sender.on_credit(credit(0, 8), 0.0)
    for number in range(2):
        sender.push(f'm{number}', 10, 0.0)
    with pytest.raises(StreamError, match='expects message 6, but there are 5'):
        sender.on_credit(credit(6, 8), 1.0)
    assert (sender.acknowledged, sender.kept_bytes, sender.heard_s) == (0, 20, 0.0)


def test_a_receiver_cannot_leap() -> None:
    sender: Sender = Sender(0, 1000, RESEND_S)
    sender.on_credit(credit(0, 8), 0.0)
    with pytest.raises(StreamError, match='it can have no more than'):
        sender.on_credit(credit(8 + LARGEST_LEAP + 1, 8), 1.0)
    assert sender.acknowledged == 0


def test_a_sender_without_room_does_not_wait_for_ever() -> None:
    """The receiver has all and saves nothing: what it has is forgotten, to be made again."""
    sender: Sender = Sender(0, 40, RESEND_S)
    sender.on_credit(credit(0, 8), 0.0)
    for number in range(4):
        sender.push(f'm{number}', 10, 0.0)
    sender.on_credit(credit(4, 8, durable=0), 0.0)
    assert not sender.has_room(10)
    for now in range(FULL_WAITS + 1):
        assert sender.overdue(now * RESEND_S) == []
        assert not sender.has_room(10)
    sender.overdue((FULL_WAITS + 2) * RESEND_S)
    assert sender.has_room(10) and sender.kept_bytes == 20
    with pytest.raises(Rewind) as wanted:
        sender.on_credit(credit(1, 8, incarnation=2), 20.0)
    assert wanted.value.sequence == 1


def test_what_the_sender_before_sent_may_arrive_at_any_time() -> None:
    """The first credit that a sender hears may be older than messages that are under way."""
    sender: Sender = Sender(3, 1000, RESEND_S)
    sender.on_credit(credit(5, 0, durable=3), 0.0)
    assert [sender.push(f'm{number}', 10, 0.0) for number in (3, 4)] == [None, None]
    assert not sender.has_room(0)
    assert sender.on_credit(credit(8, 1, durable=3), 1.0) == []
    assert [sender.push(f'm{number}', 10, 0.0) for number in (5, 6, 7)] == [None] * 3
    assert sender.push('m8', 10, 0.0).sequence == 8
    assert sender.kept_bytes == 60, 'what is not durable is kept, sent or not'


def test_what_is_durable_is_neither_sent_nor_kept_again() -> None:
    sender: Sender = Sender(0, 35, RESEND_S)
    sender.on_credit(credit(8, 4, durable=6), 0.0)
    assert [sender.push(f'm{number}', 10, 0.0) for number in range(8)] == [None] * 8
    assert sender.kept_bytes == 20
    assert numbers([sender.push('m8', 10, 0.0)]) == [8]
    again = sender.on_credit(credit(6, 4, incarnation=2, durable=6), 1.0)
    assert numbers(again) == [6, 7, 8], 'also what this sender never sent before'


def test_a_receiver_that_lost_what_is_kept_no_more_rewinds_the_sender() -> None:
    sender = sender_with(pushed=4)
    sender.on_credit(credit(4, 8, durable=3), 1.0)
    for _ in range(2):
        with pytest.raises(Rewind, match='wants message 2 again') as raised:
            sender.on_credit(credit(2, 8, incarnation=2), 2.0)
        assert raised.value.sequence == 2
    assert sender.acknowledged == 4
    assert numbers(sender.on_credit(credit(3, 8, incarnation=2), 3.0)) == [3]


def test_a_sender_ahead_of_its_receiver_is_rewound_at_their_first_meeting() -> None:
    sender: Sender = Sender(7, 1000, RESEND_S)
    assert not sender.met
    with pytest.raises(Rewind):
        sender.on_credit(credit(6, 8), 0.0)
    assert not sender.met


def test_no_credit_is_a_stream_error() -> None:
    assert issubclass(NoCredit, StreamError)
