# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Measures messages that follow each other over a link, as many under way as credit allows.

    python -m dff_nodes.nodes.link_rate receive BYTES WINDOW BUSY RELAYED    (and others: send,
                                                                    and if relayed: relay)
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dff_nodes.nodes.measuring_processes import (
    RECEIVE,
    RELAY,
    SEND,
    MeasurementError,
    Place,
    ask_all,
    here,
)

if TYPE_CHECKING:
    from dff_msgs import msg
    from rclpy.node import Node

FIRST = 10
"""messages that do not count, while the link fills"""
LEAST_MESSAGES, COUNTED_BYTES = 40, 20_000_000
LIMIT_S = 90.0
Times = tuple[float, float]
"""on the clock and of this process's processor, s"""
HOP, LAST_HOP = '/dff_link_rate', '/dff_link_rate_last'
"""topics of messages; credit has theirs with `_credit` behind"""


@dataclass(frozen=True)
class Flow:
    """What a message takes where the next ones are on their way already, s."""

    apart: float
    """from one to the next, on the clock"""
    processor: float
    """of each side: the mean of sending and receiving"""


def sides_of(relayed: bool) -> tuple[str, ...]:
    """Name the processes of a flow; what they print is in this order."""
    return (RECEIVE, RELAY, SEND) if relayed else (RECEIVE, SEND)


def measure_flow(
    message_bytes: int,
    window: int,
    place: Place = here,
    *,
    busy: bool = False,
    relayed: bool = False,
) -> Flow:
    """
    Let one process send to another.

    :param window: messages that may be under way.
    :param busy: all compute besides, as nodes that train do; `processor` tells nothing then.
    :param relayed: through a third process, as items pass through layers.
    :raises MeasurementError: if the processes come to no end.
    """
    sides = sides_of(relayed)
    arguments = [str(message_bytes), str(window), str(int(busy)), str(int(relayed))]
    times = ask_all(__name__, sides, arguments, place, LIMIT_S + 20)
    # A relay takes in and sends: over each hop there are two sides.
    hops = len(sides) - 1
    return Flow(times[0][0], sum(processor for _, processor in times) / (2 * hops))


def _messages(message_bytes: int) -> int:
    return FIRST + max(LEAST_MESSAGES, COUNTED_BYTES // message_bytes)


def _main(side: str, message_bytes: int, window: int, busy: int, relayed: int) -> None:
    """Be one of the processes; print what a message took, on the clock and processor, s."""
    import rclpy

    from dff_nodes.nodes import compat

    compat.init(None)
    node = rclpy.create_node(f'dff_link_rate_{side}')
    executor = compat.make_executor()
    executor.add_node(node)
    until = time.monotonic() + LIMIT_S
    if busy:
        threading.Thread(target=_compute, daemon=True).start()

    def turn() -> None:
        executor.spin_once(timeout_sec=0.05)
        if time.monotonic() > until:
            raise MeasurementError('another process is not heard')

    count = _messages(message_bytes)
    if side == SEND:
        data = array('B', bytes(message_bytes))
        print(json.dumps(_send(_Sender(node, HOP, window), turn, count, data)))
        return
    if side == RELAY:
        times = _relay(node, _Sender(node, LAST_HOP, window), turn, count, window)
    else:
        times = _receive(node, LAST_HOP if relayed else HOP, turn, count, window)
    print(json.dumps(times))
    time.sleep(0.5)  # until the last credit is out


def _compute() -> None:
    """Compute for ever, without the interpreter's lock."""
    data = bytes(1 << 20)
    while True:
        hashlib.sha256(data)


class _Sender:
    """Sends over a hop what there is credit for."""

    def __init__(self, node: Node, topic: str, window: int) -> None:
        from dff_msgs import msg

        from dff_nodes.nodes import qos

        self.node, self.topic, self.window = node, topic, window
        self.sent = self.expected = 0
        self.message = msg.PartChunk
        self.publisher = node.create_publisher(msg.PartChunk, topic, qos.bulk(window))
        node.create_subscription(msg.Credit, _credit_of(topic), self._go_on, qos.CREDIT)

    def _go_on(self, credit: msg.Credit) -> None:
        self.expected = max(self.expected, credit.expected)

    @property
    def is_heard(self) -> bool:
        """Whether the receiver is there."""
        credit = self.node.count_publishers(_credit_of(self.topic))
        return bool(self.publisher.get_subscription_count() and credit)

    @property
    def may_send(self) -> bool:
        """Whether there is credit for a message."""
        return self.sent < self.expected + self.window

    def send(self, data: array[int]) -> None:
        """Send one message."""
        self.publisher.publish(self.message(data=data))
        self.sent += 1


def _credit_of(topic: str) -> str:
    return f'{topic}_credit'


def _receive(node: Node, topic: str, turn: Callable[[], None], count: int, window: int) -> Times:
    """Give credit for what comes."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    arrived: list[Times] = []
    credit = node.create_publisher(msg.Credit, _credit_of(topic), qos.CREDIT)

    def take(_: msg.PartChunk) -> None:
        arrived.append(_now())
        credit.publish(msg.Credit(expected=len(arrived)))

    node.create_subscription(msg.PartChunk, topic, take, qos.bulk(window))
    while len(arrived) < count:
        turn()
    return _of_each(arrived[FIRST - 1], arrived[-1], count)


def _relay(
    node: Node, onward: _Sender, turn: Callable[[], None], count: int, window: int
) -> Times:
    """Pass on what comes, and give credit for it then."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    waiting: deque[array[int]] = deque()
    credit = node.create_publisher(msg.Credit, _credit_of(HOP), qos.CREDIT)
    node.create_subscription(
        msg.PartChunk, HOP, lambda message: waiting.append(message.data), qos.bulk(window)
    )
    began: Times | None = None
    while onward.expected < count:
        while waiting and onward.is_heard and onward.may_send:
            onward.send(waiting.popleft())
            credit.publish(msg.Credit(expected=onward.sent))
        turn()
        if began is None and onward.expected >= FIRST:
            began = _now()
    return _of_each(began or _now(), _now(), count)


def _send(onward: _Sender, turn: Callable[[], None], count: int, data: array[int]) -> Times:
    """Send as much as there is credit for, until all of it has arrived."""
    began: Times | None = None
    while not onward.is_heard:
        turn()
    while onward.expected < count:
        while onward.sent < count and onward.may_send:
            onward.send(data)
        turn()
        if began is None and onward.expected >= FIRST:
            began = _now()
    return _of_each(began or _now(), _now(), count)


def _now() -> Times:
    return time.monotonic(), time.process_time()


def _of_each(began: Times, ended: Times, count: int) -> Times:
    """Share what passed out to the messages that count."""
    clock, processor = (after - before for before, after in zip(began, ended, strict=True))
    return clock / (count - FIRST), processor / (count - FIRST)


if __name__ == '__main__':
    _main(sys.argv[1], *map(int, sys.argv[2:]))
