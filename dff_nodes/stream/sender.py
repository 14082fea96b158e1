# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The sending end of a stream: credit, replay, and sending again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from dff_nodes.stream.credit import Credit

Payload = TypeVar('Payload')
LONGEST_RESEND_S = 30.0
FULL_WAITS = 10
"""times resend_s without room until what the receiver has is forgotten"""
LARGEST_LEAP = 4096
"""messages of the sender before this one that may still be under way: some windows"""
GAP_SHARE = 0.25
"""a gap that the receiver reports is filled after this share of resend_s at the earliest"""


class StreamError(RuntimeError):
    """The two ends cannot agree any more; the message says what happened."""


class NoCredit(StreamError):
    """A message was pushed without credit or room for it."""


class Rewind(Exception):
    """
    A receiver wants messages that are kept no more: they must be made again.

    :ivar sequence: the first message that it wants.
    """

    def __init__(self, sequence: int) -> None:
        super().__init__(f'the receiver wants message {sequence} again')
        self.sequence = sequence


@dataclass
class Sent(Generic[Payload]):
    """A message that may be needed again."""

    sequence: int
    payload: Payload
    size: int
    sent_s: float


class Sender(Generic[Payload]):
    """
    Sends a gap-free sequence of messages at most `window` ahead of the receiver.

    Delivery is exactly-once in effect with any channel that loses, repeats or reorders, as
    long as it lets something through: what is not durable at the receiver is kept for replay,
    within a bound of bytes. Neither thread nor clock of its own: the caller passes the time,
    sends what `push`, `on_credit` and `overdue` return, and holds a lock if it has threads.

    A sender that comes back makes messages again that its receiver has already: they are pushed
    and kept like all others, but `push` gives only those that still have to be sent.

    :param first: sequence number of the first message.
    :param replay_bytes: bound of what is kept.
    :param resend_s: without progress after which messages go out again; doubles each time.
    :param end: number of messages there will ever be; a receiver cannot have more.
    """

    def __init__(self, first: int, replay_bytes: int, resend_s: float, end: int = 2**64) -> None:
        self.next_sequence = first
        self.replay_bytes = replay_bytes
        self.kept_bytes = 0
        self.resent = 0
        self.acknowledged = first
        """sequence number that the receiver expects next; may be ahead of what was pushed"""
        self.durable = first
        """messages before it need not be kept"""
        self.heard_s: float | None = None
        """time of the last credit"""
        self._resend_s = resend_s
        self._wait_s = resend_s
        self._end = end
        self._limit = first
        self._is_full = False
        self._full_since_s: float | None = None
        self._incarnation = -1
        self._kept: deque[Sent[Payload]] = deque()

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes may be pushed now."""
        if self.next_sequence >= self._limit:
            return False
        self._is_full = self.kept_bytes + size > self.replay_bytes
        return not self._is_full

    @property
    def all_acknowledged(self) -> bool:
        """Whether the receiver has all that was pushed."""
        return self.acknowledged >= self.next_sequence

    @property
    def in_flight(self) -> int:
        """Messages pushed and not yet acknowledged."""
        return self.next_sequence - self.acknowledged

    @property
    def met(self) -> bool:
        """Whether a credit has come, so that it is known what the receiver wants."""
        return self._incarnation >= 0

    def push(self, payload: Payload, size: int, now: float) -> Sent[Payload] | None:
        """
        Number the next message and keep it.

        :returns: what has to be sent now, None if the receiver has it already.
        :raises NoCredit: if `has_room` denies it.
        """
        if not self.has_room(size):
            raise NoCredit(
                f'message {self.next_sequence} of {size} bytes was pushed with credit up to '
                f'{self._limit} and {self.kept_bytes} of {self.replay_bytes} bytes kept'
            )
        sent = Sent(self.next_sequence, payload, size, now)
        self.next_sequence += 1
        if sent.sequence < min(self.durable, self.acknowledged):
            return None
        self._kept.append(sent)
        self.kept_bytes += size
        return sent if sent.sequence >= self.acknowledged else None

    def on_credit(self, credit: Credit, now: float) -> list[Sent[Payload]]:
        """
        Take a credit in; give what must go out again because of it.

        :raises StreamError: if the receiver wants what there cannot be; nothing has changed then.
        :raises Rewind: if it came back and wants what is kept no more.
        """
        if credit.incarnation < self._incarnation:
            return []
        self._check(credit)
        self.heard_s = now
        if credit.incarnation > self._incarnation:
            return self._meet(credit, now)
        if credit.expected > self.acknowledged:
            self.acknowledged = credit.expected
            self._wait_s = self._resend_s
        limit_before = self._limit
        self._limit = max(self._limit, credit.expected + credit.window)
        self._forget(credit.durable)
        if credit.missing and credit.expected == self.acknowledged:
            again = self._again(now, GAP_SHARE * self._resend_s)
            if again:
                return again
        return self._replayed(limit_before, now)

    def overdue(self, now: float) -> list[Sent[Payload]]:
        """Give what must go out again because nothing was heard of it for long."""
        self._make_room(now)
        again = self._again(now, self._wait_s)
        if again:
            self._wait_s = min(2 * self._wait_s, LONGEST_RESEND_S)
        return again

    def _make_room(self, now: float) -> None:
        """
        Forget half of what is kept, if nothing moves because there is no room for more.

        The receiver has it all but has not saved it, and saves by what it receives: after some
        crashes both would wait for ever. Should it be asked for, Rewind has it made again.
        """
        if not (self._is_full and self.all_acknowledged):
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now
        elif now - self._full_since_s > FULL_WAITS * self._resend_s:
            self._full_since_s = None
            self._is_full = False
            while self._kept and self.kept_bytes > self.replay_bytes // 2:
                self.kept_bytes -= self._kept.popleft().size

    def _check(self, credit: Credit) -> None:
        # It may have more than was pushed here: what was sent before this sender came back.
        if credit.expected > self._end:
            raise StreamError(
                f'the receiver expects message {credit.expected}, but there are {self._end}'
            )
        known = max(self.next_sequence, self.acknowledged, self._limit) + LARGEST_LEAP
        if self.met and credit.expected > known:
            raise StreamError(
                f'the receiver expects message {credit.expected}, though it can have no more '
                f'than {known}'
            )
        oldest = self._kept[0].sequence if self._kept else self.next_sequence
        if credit.incarnation > self._incarnation and credit.expected < oldest:
            raise Rewind(credit.expected)

    def _meet(self, credit: Credit, now: float) -> list[Sent[Payload]]:
        """A receiver that was not known, or has restarted: its word replaces the old one's."""
        restarted = self.met
        self._incarnation = credit.incarnation
        self.acknowledged = credit.expected
        self._limit = credit.expected + credit.window
        self._wait_s = self._resend_s
        self._forget(credit.durable)
        return self._again(now, 0.0) if restarted else []

    def _replayed(self, limit_before: int, now: float) -> list[Sent[Payload]]:
        """Give what a restarted receiver had no room for until now."""
        if limit_before >= self.next_sequence:
            return []
        return self._marked_sent(
            [sent for sent in self._flying() if sent.sequence >= limit_before], now
        )

    def _forget(self, durable: int) -> None:
        self.durable = max(self.durable, durable)
        while self._kept and self._kept[0].sequence < min(self.durable, self.acknowledged):
            self.kept_bytes -= self._kept.popleft().size

    def _again(self, now: float, wait_s: float) -> list[Sent[Payload]]:
        """Give all that is in flight, if its first was sent longer ago than that."""
        flying = self._flying()
        if not flying or now - flying[0].sent_s < wait_s:
            return []
        return self._marked_sent(flying, now)

    def _flying(self) -> list[Sent[Payload]]:
        return [sent for sent in self._kept if self.acknowledged <= sent.sequence < self._limit]

    def _marked_sent(self, again: list[Sent[Payload]], now: float) -> list[Sent[Payload]]:
        for sent in again:
            sent.sent_s = now
        self.resent += len(again)
        return again
