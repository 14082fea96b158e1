# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Measures messages that follow each other over a link, as many under way as credit allows.

    python -m dff_nodes.nodes.link_rate receive BYTES WINDOW BUSY    (and another one: send)
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dff_nodes.nodes.two_processes import MeasurementError, Place, ask_both, here

if TYPE_CHECKING:
    from rclpy.node import Node

FIRST = 10
"""messages that do not count, while the link fills"""
LEAST_MESSAGES, COUNTED_BYTES = 40, 20_000_000
LIMIT_S = 90.0
Times = tuple[float, float]
"""on the clock and of this process's processor, s"""
TOPIC, CREDIT_TOPIC = '/dff_link_rate', '/dff_link_rate_credit'


@dataclass(frozen=True)
class Flow:
    """What a message takes where the next ones are on their way already, s."""

    apart: float
    """from one to the next, on the clock"""
    processor: float
    """of each side: the mean of sending and receiving"""


def measure_flow(message_bytes: int, window: int, place: Place = here, busy: bool = False) -> Flow:
    """
    Let one process send to another.

    :param window: messages that may be under way.
    :param busy: both compute besides, as nodes that train do; `processor` tells nothing then.
    :raises MeasurementError: if the processes come to no end.
    """
    arguments = [str(message_bytes), str(window), str(int(busy))]
    sides = ask_both(__name__, arguments, place, LIMIT_S + 20)
    return Flow(sides[0][0], sum(processor for _, processor in sides) / 2)


def _messages(message_bytes: int) -> int:
    return FIRST + max(LEAST_MESSAGES, COUNTED_BYTES // message_bytes)


def _main(side: str, message_bytes: int, window: int, busy: int) -> None:
    """Be one of the two processes; print what a message took, on the clock and processor, s."""
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
            raise MeasurementError('the other process is not heard')

    if side == 'receive':
        print(json.dumps(_receive(node, turn, _messages(message_bytes), window)))
        time.sleep(0.5)  # until the last credit is out
    else:
        data = array('B', bytes(message_bytes))
        print(json.dumps(_send(node, turn, _messages(message_bytes), window, data)))


def _compute() -> None:
    """Compute for ever, without the interpreter's lock."""
    data = bytes(1 << 20)
    while True:
        hashlib.sha256(data)


def _receive(node: Node, turn: Callable[[], None], count: int, window: int) -> Times:
    """Give credit for what comes."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    arrived: list[Times] = []
    credit = node.create_publisher(msg.Credit, CREDIT_TOPIC, qos.CREDIT)

    def take(_: msg.PartChunk) -> None:
        arrived.append(_now())
        credit.publish(msg.Credit(expected=len(arrived)))

    node.create_subscription(msg.PartChunk, TOPIC, take, qos.bulk(window))
    while len(arrived) < count:
        turn()
    return _of_each(arrived[FIRST - 1], arrived[-1], count)


def _send(
    node: Node, turn: Callable[[], None], count: int, window: int, data: array[int]
) -> Times:
    """Send as much as there is credit for, until all of it has arrived."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    items = node.create_publisher(msg.PartChunk, TOPIC, qos.bulk(window))
    expected = sent = 0
    began: Times | None = None

    def go_on(message: msg.Credit) -> None:
        nonlocal expected
        expected = max(expected, message.expected)

    node.create_subscription(msg.Credit, CREDIT_TOPIC, go_on, qos.CREDIT)
    while not items.get_subscription_count() or not node.count_publishers(CREDIT_TOPIC):
        turn()
    while expected < count:
        while sent < min(count, expected + window):
            items.publish(msg.PartChunk(data=data))
            sent += 1
        turn()
        if began is None and expected >= FIRST:
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
