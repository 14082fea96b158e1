# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Measures how soon messages follow each other over a link, as many under way as credit allows.

    python -m dff_nodes.nodes.link_rate receive BYTES WINDOW    (and another one: send)
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from dff_nodes.nodes.two_processes import MeasurementError, Place, ask_both, here

if TYPE_CHECKING:
    from rclpy.node import Node

FIRST = 10
"""messages that do not count, while the link fills"""
LEAST_MESSAGES, COUNTED_BYTES = 40, 20_000_000
LIMIT_S = 90.0
TOPIC, CREDIT_TOPIC = '/dff_link_rate', '/dff_link_rate_credit'


def measure_rate(message_bytes: int, window: int, place: Place = here) -> float:
    """
    Let one process send to another.

    :param window: messages that may be under way.
    :returns: mean time from one message to the next, s.
    :raises MeasurementError: if the processes come to no end.
    """
    arguments = [str(message_bytes), str(window)]
    return ask_both(__name__, arguments, place, LIMIT_S + 20)[0]


def _messages(message_bytes: int) -> int:
    return FIRST + max(LEAST_MESSAGES, COUNTED_BYTES // message_bytes)


def _main(side: str, message_bytes: int, window: int) -> None:
    """Be one of the two processes; the receiver prints the time, s."""
    import rclpy

    from dff_nodes.nodes import compat

    compat.init(None)
    node = rclpy.create_node(f'dff_link_rate_{side}')
    executor = compat.make_executor()
    executor.add_node(node)
    until = time.monotonic() + LIMIT_S

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


def _receive(node: Node, turn: Callable[[], None], count: int, window: int) -> float:
    """Give credit for what comes; return the mean time between two messages, s."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    arrived: list[float] = []
    credit = node.create_publisher(msg.Credit, CREDIT_TOPIC, qos.CREDIT)

    def take(_: msg.PartChunk) -> None:
        arrived.append(time.monotonic())
        credit.publish(msg.Credit(expected=len(arrived)))

    node.create_subscription(msg.PartChunk, TOPIC, take, qos.bulk(window))
    while len(arrived) < count:
        turn()
    return (arrived[-1] - arrived[FIRST - 1]) / (count - FIRST)


def _send(node: Node, turn: Callable[[], None], count: int, window: int, data: array[int]) -> int:
    """Send as much as there is credit for, until all of it has arrived."""
    from dff_msgs import msg

    from dff_nodes.nodes import qos

    items = node.create_publisher(msg.PartChunk, TOPIC, qos.bulk(window))
    expected = sent = 0

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
    return sent


if __name__ == '__main__':
    _main(sys.argv[1], *map(int, sys.argv[2:]))
