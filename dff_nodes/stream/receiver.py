# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The receiving end of a stream: order, duplicates, gaps and a bounded queue."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Generic, TypeVar

from dff_nodes.stream.credit import Credit

Payload = TypeVar('Payload')


class Verdict(Enum):
    """What became of a message that arrived."""

    ACCEPTED = 'accepted'
    DUPLICATE = 'duplicate'
    GAP = 'gap'
    """one before it is missing; it will be sent again"""
    FULL = 'full'
    """the sender ignored the window; it will be sent again"""
    STALE = 'stale'
    """from an incarnation of the sender that has been replaced"""


class Receiver(Generic[Payload]):
    """
    Gives out messages 0, 1, 2, ... each exactly once, whatever the channel does.

    Holds at most `capacity` messages. No thread and no clock of its own: the caller passes in
    what arrives, sends `credit` to the sender from time to time and whenever it changed, and
    holds a lock if it has threads.

    :param first: sequence number of the first message.
    """

    def __init__(self, first: int, capacity: int, incarnation: int) -> None:
        self.expected = first
        self.capacity = capacity
        self.incarnation = incarnation
        self.duplicates = 0
        self.sender_incarnation = 0
        """of the newest sender whose message was taken in"""
        self._begun = False
        self._missing = False
        self._untold = 0
        self._queue: deque[Payload] = deque()

    @property
    def queued(self) -> int:
        """Messages received and not yet taken."""
        return len(self._queue)

    @property
    def next_taken(self) -> int:
        """Sequence number of the message that `take` gives next."""
        return self.expected - len(self._queue)

    def offer(self, sequence: int, sender_incarnation: int, payload: Payload) -> Verdict:
        """Take in one message that arrived."""
        if sender_incarnation < self.sender_incarnation:
            return Verdict.STALE
        if sequence > self.expected:
            self._missing = True
            return Verdict.GAP
        if sequence < self.expected:
            self.duplicates += 1
            return Verdict.DUPLICATE
        if len(self._queue) >= self.capacity:
            return Verdict.FULL
        # Only a message whose content was sound tells anything about its sender.
        self.sender_incarnation = sender_incarnation
        self._queue.append(payload)
        self.expected += 1
        self._begun = True
        self._missing = False
        return Verdict.ACCEPTED

    def take(self) -> Payload | None:
        """Give out the next message, None if it has not come."""
        if not self._queue:
            return None
        self._untold += 1
        return self._queue.popleft()

    def may_come(self, sequence: int) -> bool:
        """
        Whether a sender that keeps to the credit may have sent that message.

        Anything may, until the first message in order shows that the sender knows this receiver:
        what was sent to the one before it is still under way.
        """
        return not self._begun or sequence < self.next_taken + self.capacity

    @property
    def credit_is_due(self) -> bool:
        """
        Whether the sender should hear of the room there is.

        Not after every message: half a window at a time keeps the sender going, and always when
        nothing is left to take.
        """
        return self._untold > 0 and (not self._queue or 2 * self._untold >= self.capacity)

    def credit(self, durable: int | None = None) -> Credit:
        """
        Say what is wanted.

        :param durable: messages before it will never be asked for again; default all received,
            for a receiver that keeps no checkpoints during the run.
        """
        self._untold = 0
        return Credit(
            incarnation=self.incarnation,
            expected=self.expected,
            window=self.capacity - len(self._queue),
            durable=self.expected if durable is None else durable,
            missing=self._missing,
        )
