# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One credited connection between two nodes: the ends of stream/ tied to topics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from dff_msgs import msg
from rclpy.node import Node
from rclpy.publisher import Publisher

from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.runs.fault_points import FaultPoint, reach
from dff_nodes.stream.codec import Rejected
from dff_nodes.stream.credit import Credit
from dff_nodes.stream.receiver import Receiver, Verdict
from dff_nodes.stream.sender import Rewind, Sender, StreamError

CREDIT_PERIOD_S = 0.5
"""credit is repeated this often, so that a lost one costs little and silence is a sign"""
LARGEST_WINDOW = 1024
"""of stream.window_items"""


class Stopped(Exception):
    """The node was asked to end while a thread waited."""


class Guard(Protocol):
    """What a link needs to know of its node's life."""

    changed: threading.Condition
    """notified whenever anything that a thread may wait for has happened"""

    def check(self) -> None:
        """Raise Stopped if the node shall end."""

    def waiting(self, reason: str | None) -> None:
        """Say what the trainer thread waits for, None when it goes on."""

    def ended(self) -> bool:
        """Whether the node has ended or shall end."""

    def fail(self, error: Exception) -> None:
        """End the node with an error, from any thread."""

    def reject(self, topic: str, reason: str) -> None:
        """Count and report a message that was refused."""


class Rewound(Exception):
    """A receiver came back and wants what is kept no more: make it again."""


class OutgoingLink:
    """
    Publishes a sequence of messages under the receiver's credit.

    Listens from the beginning, as what the receiver wants decides where the sequence `begin`s.
    `send` is for the worker thread and blocks until there is credit; credits are taken in, and
    messages sent again, on the executor's thread.

    :param end: number of messages that there will ever be.
    :param describe: who receives, for waiting messages.
    """

    def __init__(
        self,
        node: Node,
        guard: Guard,
        run_id: str,
        publisher: Publisher,
        credit_topic: str,
        end: int,
        describe: Callable[[], str],
    ) -> None:
        self._guard = guard
        self._run_id = run_id
        self._publisher = publisher
        self._end = end
        self.describe = describe
        self._credit_topic = credit_topic
        self._sender: Sender | None = None
        self._resent_before = 0
        self.credit: Credit | None = None
        """the newest one"""
        self.heard_s: float | None = None
        """monotonic time of the last credit, None before the first"""
        self.rewound = False
        """whether the sequence must begin again, further back"""
        self.sent_bytes = 0
        node.create_subscription(msg.Credit, credit_topic, self._on_credit, qos.CREDIT)
        node.create_timer(CREDIT_PERIOD_S / 2, self._send_overdue)

    def begin(self, first: int, replay_bytes: int, resend_s: float) -> None:
        """Begin with message `first`, or begin again there."""
        with self._guard.changed:
            if self._sender is not None:
                self._resent_before += self._sender.resent
            self._sender = Sender(first, replay_bytes, resend_s, self._end)
            self.rewound = False
            if self.credit is not None:
                self._take_in(self.credit)

    def end(self) -> None:
        """Forget all that was sent, also for a receiver that comes back, until it begins again."""
        with self._guard.changed:
            self._resent_before = self.resent
            self._sender = None

    @property
    def resent(self) -> int:
        """Messages sent more than once."""
        return self._resent_before + (self._sender.resent if self._sender else 0)

    @property
    def wanted(self) -> int:
        """Message that the receiver wants next, 0 before it has said so."""
        return self.credit.expected if self.credit else 0

    def has_room(self, size: int) -> bool:
        """Whether `send` would go through at once."""
        with self._guard.changed:
            return self._sender is not None and self._sender.has_room(size)

    def send(self, make: Callable[[int], Any], size: int) -> None:
        """
        Publish the next message as soon as there is credit, if the receiver has it not yet.

        :param make: gives the message of a sequence number.
        :param size: bytes of its payload.
        :raises Stopped, Rewound: if the node shall end, or begin again, first.
        """
        with self._guard.changed:
            while not self._sender.has_room(size):
                self._guard.check()
                self._guard.waiting(f'credit from {self.describe()}')
                self._guard.changed.wait(CREDIT_PERIOD_S)
            self._guard.waiting(None)
            message = make(self._sender.next_sequence)
            sent = self._sender.push(message, size, time.monotonic())
        if sent is not None:
            self.sent_bytes += size
            self._publisher.publish(message)

    def _on_credit(self, message: msg.Credit) -> None:
        if messages.run_id_text(message.run_id) != self._run_id:
            self._guard.reject(self._credit_topic, 'it belongs to another run')
            return
        credit = messages.credit(message)
        known = self.credit.incarnation if self.credit else 0
        wrong = self._what_is_wrong(credit) or soundness.of_incarnation(credit.incarnation, known)
        if wrong:
            self._guard.reject(self._credit_topic, wrong)
            return
        with self._guard.changed:
            try:
                again = self._take_in(credit)
            except StreamError as error:
                self._guard.reject(self._credit_topic, str(error))
                return
            self._remember(credit)
            self._guard.changed.notify_all()
        self._publish_again(again)

    def _what_is_wrong(self, credit: Credit) -> str | None:
        """Give why there cannot be such a credit, None if there can."""
        if credit.expected > self._end:
            return f'expected is {credit.expected}, but there are {self._end} messages'
        if credit.durable > credit.expected:
            return f'durable is {credit.durable}, more than the {credit.expected} received'
        if credit.window > LARGEST_WINDOW:
            return f'window is {credit.window}, at most {LARGEST_WINDOW} is right'
        return None

    def _take_in(self, credit: Credit) -> list:
        if self._sender is None:
            return []
        try:
            return self._sender.on_credit(credit, time.monotonic())
        except Rewind:
            self.rewound = True
            return []

    def _remember(self, credit: Credit) -> None:
        self.heard_s = time.monotonic()
        known = self.credit
        if known is None or (credit.incarnation, credit.expected) >= (
            known.incarnation,
            known.expected,
        ):
            self.credit = credit

    def _send_overdue(self) -> None:
        with self._guard.changed:
            again = self._sender.overdue(time.monotonic()) if self._sender else []
        self._publish_again(again)

    def _publish_again(self, again: list) -> None:
        for sent in again:
            self._publisher.publish(sent.payload)
            reach(FaultPoint.IN_REPLAY)


class IncomingLink:
    """
    Takes in a sequence of messages, in order and each once, and gives credit for it.

    Takes nothing before it `begin`s, and wants nothing once it has come to its `end`. `offer` runs
    on the executor's thread, `take` on the worker's.

    :param durable: gives the message before which none will ever be asked for again; None if
        that is all that were received.
    """

    def __init__(
        self,
        node: Node,
        guard: Guard,
        run_id: str,
        credit_topic: str,
        name: str,
        durable: Callable[[], int] | None = None,
    ) -> None:
        self._node = node
        self._guard = guard
        self._run_id = run_id
        self._receiver: Receiver | None = None
        self._is_ended = False
        self._name = name
        self._durable = durable
        self.received_bytes = 0
        self.taken_bytes = 0
        """payload of the messages that were taken"""
        self._sizes: deque[int] = deque()
        self.heard_s: float | None = None
        self._credits = node.create_publisher(msg.Credit, credit_topic, qos.CREDIT)
        node.create_timer(CREDIT_PERIOD_S, self._repeat_credit)

    def begin(self, receiver: Receiver) -> None:
        """Begin with the receiver's first message, or begin again there, and say so."""
        with self._guard.changed:
            self._receiver = receiver
            self._is_ended = False
            self._sizes.clear()
        self.give_credit()

    def end(self) -> None:
        """
        Want no more: credit is not repeated from now on, until the link begins again.

        What comes again is still answered, as its sender has missed the last credit.
        """
        self._is_ended = True

    @property
    def queued(self) -> int:
        """Messages received and not yet taken."""
        return self._receiver.queued if self._receiver else 0

    def offer(self, message: Any, sequence: int, decode: Callable[[], Any], size: int) -> None:
        """
        Take a message in, if it is the next of this run and its content is sound.

        :param decode: gives the content; raises Rejected.
        """
        if messages.run_id_text(message.run_id) != self._run_id:
            self._guard.reject(self._name, 'it belongs to another run')
            return
        self.heard_s = time.monotonic()
        with self._guard.changed:
            if self._receiver is None:
                return
            try:
                verdict = self._offer(message, sequence, decode)
            except Rejected as error:
                self._guard.reject(self._name, str(error))
                return
            if verdict == Verdict.ACCEPTED:
                self.received_bytes += size
                self._sizes.append(size)
            self._guard.changed.notify_all()
        if verdict == Verdict.STALE:
            self._guard.reject(self._name, 'its sender has been replaced by a newer one')
        elif verdict != Verdict.ACCEPTED:
            self.give_credit()

    def _offer(self, message: Any, sequence: int, decode: Callable[[], Any]) -> Verdict:
        receiver = self._receiver
        known = receiver.sender_incarnation
        if wrong := soundness.of_incarnation(message.incarnation, known):
            raise Rejected(wrong)
        if not receiver.may_come(sequence):
            raise Rejected(f'message {sequence} is beyond the window')
        # Only what is wanted is worth decoding; of others, credit tells where we are.
        content = decode() if sequence == receiver.expected else None
        return receiver.offer(sequence, message.incarnation, content)

    def take(self) -> Any | None:
        """Give out the next content, None if it has not come."""
        with self._guard.changed:
            content = self._receiver.take()
            if content is not None:
                self.taken_bytes += self._sizes.popleft()
            due = self._receiver.credit_is_due
        if due:
            self.give_credit()
        return content

    def _repeat_credit(self) -> None:
        if not self._is_ended:
            self.give_credit()

    def give_credit(self) -> None:
        """Tell the sender what is wanted."""
        with self._guard.changed:
            if self._receiver is None:
                return
            durable = self._durable() if self._durable else None
            credit = self._receiver.credit(durable)
        stamp = self._node.get_clock().now().to_msg()
        reach(FaultPoint.BEFORE_CREDIT)
        self._credits.publish(messages.credit_message(credit, self._run_id, stamp))
        reach(FaultPoint.AFTER_CREDIT)
