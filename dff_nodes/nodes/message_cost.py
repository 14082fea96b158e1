# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Measures the processor time of a message between two processes, over the network's protocols.

    python -m dff_nodes.nodes.message_cost receive    (and another one: send)
"""

from __future__ import annotations

import json
import sys
import time
from array import array

from dff_nodes.nodes.measuring_processes import (
    RECEIVE,
    SEND,
    MeasurementError,
    Place,
    ask_all,
    here,
)
from dff_nodes.runs.segment import CHUNK_BYTES
from dff_nodes.schedules.step_times import MessageTimes

SMALL_BYTES = 1000
MESSAGES = 60
PAUSE_S = 0.004
"""between two messages, so that none is lost and sent again"""
LIMIT_S = 40.0
TOPIC = '/dff_message_cost'


def measure_message_cost(place: Place = here) -> MessageTimes:
    """Let two processes send and receive; raises MeasurementError."""
    used = ask_all(__name__, (RECEIVE, SEND), [], place, 2 * LIMIT_S)
    small, large = (sum(side[place] for side in used) / 2 for place in (0, 1))
    per_byte = max(0.0, (large - small) / (CHUNK_BYTES - SMALL_BYTES))
    return MessageTimes(max(0.0, small - SMALL_BYTES * per_byte), per_byte)


def _main(side: str) -> None:
    """Be one of the two processes; print its processor time of a small and a large message, s."""
    import rclpy
    from dff_msgs import msg
    from rclpy.duration import Duration

    from dff_nodes.nodes import compat, qos

    compat.init(None)
    node = rclpy.create_node(f'dff_message_cost_{side}')
    executor = compat.make_executor()
    executor.add_node(node)
    deadline = time.monotonic() + LIMIT_S
    if side == SEND:
        publisher = node.create_publisher(msg.PartChunk, TOPIC, qos.PART_CHUNKS)
        while not publisher.get_subscription_count():
            executor.spin_once(timeout_sec=0.05)
            _check(deadline)
        print(json.dumps([_send(publisher, msg.PartChunk, each) for each in _sizes()]))
        publisher.wait_for_all_acked(Duration(seconds=LIMIT_S))
        return
    arrived: list[tuple[int, float]] = []
    node.create_subscription(
        msg.PartChunk,
        TOPIC,
        lambda message: arrived.append((len(message.data), time.process_time())),
        qos.PART_CHUNKS,
    )
    while len(arrived) < 2 * MESSAGES:
        executor.spin_once(timeout_sec=0.05)
        _check(deadline)
    print(json.dumps([_received(arrived, size) for size in _sizes()]))


def _sizes() -> tuple[int, int]:
    return SMALL_BYTES, CHUNK_BYTES


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise MeasurementError('the other process is not heard')


def _send(publisher, message, size: int) -> float:  # noqa: ANN001 - types of rclpy
    data = array('B', bytes(size))
    began = time.process_time()
    for _ in range(MESSAGES):
        publisher.publish(message(data=data))
        time.sleep(PAUSE_S)
    return (time.process_time() - began) / MESSAGES


def _received(arrived: list[tuple[int, float]], size: int) -> float:
    """Processor time between the first and the last message of a size, for each."""
    times = [used for bytes_there, used in arrived if bytes_there == size]
    return (times[-1] - times[0]) / (len(times) - 1)


if __name__ == '__main__':
    _main(sys.argv[1])
