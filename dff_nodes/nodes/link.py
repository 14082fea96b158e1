# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One credited connection between two nodes: the ends of stream/ tied to topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from dff_msgs import msg
from rclpy.node import Node
from rclpy.publisher import Publisher

from dff_nodes.nodes import messages, qos
from dff_nodes.stream.codec import Rejected
from dff_nodes.stream.receiver import Receiver, Verdict
from dff_nodes.stream.sender import Sender, StreamError

CREDIT_PERIOD_S = 0.5
"""credit is repeated this often, so that a lost one costs little and silence is a sign"""


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

    def fail(self, error: Exception) -> None:
        """End the node with an error, from any thread."""

    def reject(self, topic: str, reason: str) -> None:
        """Count and report a message that was refused."""


class OutgoingLink:
    """
    Publishes a sequence of messages under the receiver's credit.

    `send` is for the trainer thread and blocks until there is credit; credits are taken in,
    and messages sent again, on the executor's thread.

    :param describe: who receives, for waiting messages.
    """

    def __init__(
        self,
        node: Node,
        guard: Guard,
        identity: messages.Sender,
        publisher: Publisher,
        credit_topic: str,
        sender: Sender,
        describe: Callable[[], str],
    ) -> None:
        self._guard = guard
        self._identity = identity
        self._publisher = publisher
        self._sender = sender
        self._describe = describe
        self._credit_topic = credit_topic
        self.sent_bytes = 0
        node.create_subscription(msg.Credit, credit_topic, self._on_credit, qos.CREDIT)
        node.create_timer(CREDIT_PERIOD_S / 2, self._send_overdue)

    @property
    def resent(self) -> int:
        """Messages sent more than once."""
        return self._sender.resent

    @property
    def heard_s(self) -> float | None:
        """Monotonic time of the last credit, None before the first."""
        return self._sender.heard_s

    @property
    def all_acknowledged(self) -> bool:
        """Whether the receiver has all that was sent."""
        with self._guard.changed:
            return self._sender.all_acknowledged

    def has_room(self, size: int) -> bool:
        """Whether `send` would go through at once."""
        with self._guard.changed:
            return self._sender.has_room(size)

    def send(self, make: Callable[[int], Any], size: int) -> None:
        """
        Publish the next message as soon as there is credit.

        :param make: gives the message of a sequence number.
        :param size: bytes of its payload.
        :raises Stopped: if the node shall end first.
        """
        with self._guard.changed:
            while not self._sender.has_room(size):
                self._guard.check()
                self._guard.waiting(f'credit from {self._describe()}')
                self._guard.changed.wait(CREDIT_PERIOD_S)
            self._guard.waiting(None)
            message = make(self._sender.next_sequence)
            self._sender.push(message, size, time.monotonic())
            self.sent_bytes += size
        self._publisher.publish(message)

    def _on_credit(self, message: msg.Credit) -> None:
        if messages.run_id_text(message.run_id) != self._identity.run_id:
            self._guard.reject(self._credit_topic, 'it belongs to another run')
            return
        with self._guard.changed:
            try:
                again = self._sender.on_credit(messages.credit(message), time.monotonic())
            except StreamError as error:
                self._guard.reject(self._credit_topic, str(error))
                return
            self._guard.changed.notify_all()
        self._publish_again(again)

    def _send_overdue(self) -> None:
        with self._guard.changed:
            again = self._sender.overdue(time.monotonic())
        self._publish_again(again)

    def _publish_again(self, again: list) -> None:
        for sent in again:
            self._publisher.publish(sent.payload)


class IncomingLink:
    """
    Takes in a sequence of messages, in order and each once, and gives credit for it.

    `offer` runs on the executor's thread, `take` on the trainer's.
    """

    def __init__(
        self,
        node: Node,
        guard: Guard,
        identity: messages.Sender,
        credit_topic: str,
        receiver: Receiver,
        name: str,
    ) -> None:
        self._node = node
        self._guard = guard
        self._identity = identity
        self._receiver = receiver
        self._name = name
        self.received_bytes = 0
        self.heard_s: float | None = None
        self._credits = node.create_publisher(msg.Credit, credit_topic, qos.CREDIT)
        node.create_timer(CREDIT_PERIOD_S, self.give_credit)

    @property
    def queued(self) -> int:
        """Messages received and not yet taken."""
        return self._receiver.queued

    @property
    def next_taken(self) -> int:
        """Sequence number that `take` gives next."""
        return self._receiver.next_taken

    def offer(self, message: Any, sequence: int, decode: Callable[[], Any], size: int) -> None:
        """
        Take a message in, if it is the next of this run and its content is sound.

        :param decode: gives the content; raises Rejected.
        """
        self.heard_s = time.monotonic()
        if messages.run_id_text(message.run_id) != self._identity.run_id:
            self._guard.reject(self._name, 'it belongs to another run')
            return
        with self._guard.changed:
            if sequence < self._receiver.expected:
                # Not worth decoding; offer() counts it and credit tells the sender where we are.
                verdict = self._receiver.offer(sequence, message.incarnation, None)
            else:
                try:
                    content = decode()
                except Rejected as error:
                    self._guard.reject(self._name, str(error))
                    return
                verdict = self._receiver.offer(sequence, message.incarnation, content)
            if verdict == Verdict.ACCEPTED:
                self.received_bytes += size
            self._guard.changed.notify_all()
        if verdict == Verdict.STALE:
            self._guard.reject(self._name, 'its sender has been replaced by a newer one')
        elif verdict != Verdict.ACCEPTED:
            self.give_credit()

    def take(self) -> Any | None:
        """Give out the next content, None if it has not come."""
        with self._guard.changed:
            content = self._receiver.take()
            due = self._receiver.credit_is_due
        if due:
            self.give_credit()
        return content

    def give_credit(self) -> None:
        """Tell the sender what is wanted."""
        with self._guard.changed:
            credit = self._receiver.credit()
        stamp = self._node.get_clock().now().to_msg()
        self._credits.publish(messages.credit_message(credit, self._identity.run_id, stamp))
