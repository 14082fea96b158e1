# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Measures messages that follow each other over a link, as many under way as credit allows.

    python -m dff_nodes.nodes.link_rate receive SETTING_AS_JSON    (and others: send, and if it is
                                                                    relayed: relay)
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
from dataclasses import asdict, dataclass
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

FIRST = 10
"""messages that do not count, while the link fills"""
LEAST_MESSAGES, COUNTED_BYTES = 40, 20_000_000
LIMIT_S = 90.0
LONGEST_S = 40.0
"""that messages should take; over a slow link fewer are sent"""
LEAST_FIRST, LEAST_COUNTED = 2, 4
"""messages over the slowest one"""
ALONE_S, BEGINS_S = 1.5, 2.0
"""how long what is computed besides is timed without messages, and when the first one is sent"""
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
    """
    of each side: the mean of sending and receiving. Where it computes besides, what that takes
    longer for the messages is theirs: they interrupt it, and take its place in the caches
    """


@dataclass(frozen=True)
class Setting:
    """What all sides of a flow must know."""

    message_bytes: int
    window: int
    busy: bool
    relayed: bool
    first: int
    """messages that do not count, while the link fills"""
    counted: int
    limit_s: float

    @staticmethod
    def on(
        link_mbit: float | None, message_bytes: int, window: int, *, busy: bool, relayed: bool
    ) -> Setting:
        """Choose how many messages: they take long enough to measure, and not for ever."""
        counted = max(LEAST_MESSAGES, COUNTED_BYTES // message_bytes)
        if link_mbit is None:
            return Setting(message_bytes, window, busy, relayed, FIRST, counted, LIMIT_S)
        each_s = 8 * message_bytes / (link_mbit * 1e6)
        fit = int(LONGEST_S / each_s)
        first = min(FIRST, max(LEAST_FIRST, fit // 5))
        counted = min(counted, max(LEAST_COUNTED, fit - first))
        limit_s = LIMIT_S + 2 * (first + counted) * each_s
        return Setting(message_bytes, window, busy, relayed, first, counted, limit_s)

    @property
    def count(self) -> int:
        """All messages."""
        return self.first + self.counted


def sides_of(relayed: bool) -> tuple[str, ...]:
    """Name the processes of a flow; what they print is in this order."""
    return (RECEIVE, RELAY, SEND) if relayed else (RECEIVE, SEND)


def measure_flow(
    message_bytes: int,
    window: int,
    place: Place = here,
    *,
    link_mbit: float | None = None,
    busy: bool = False,
    relayed: bool = False,
) -> Flow:
    """
    Let one process send to another.

    :param window: messages that may be under way.
    :param link_mbit: rate of the link between them, if it has a limit.
    :param busy: all compute besides, as nodes that train do.
    :param relayed: through a third process, as items pass through layers.
    :raises MeasurementError: if the processes come to no end.
    """
    sides = sides_of(relayed)
    setting = Setting.on(link_mbit, message_bytes, window, busy=busy, relayed=relayed)
    arguments = [json.dumps(asdict(setting))]
    times = ask_all(__name__, sides, arguments, place, setting.limit_s + 20)
    # A relay takes in and sends: over each hop there are two sides.
    hops = len(sides) - 1
    return Flow(times[0][0], sum(processor for _, processor in times) / (2 * hops))


class _Computing(threading.Thread):
    """Computes for ever, without the interpreter's lock, as a node that trains does."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rounds = 0
        self.alone_s = 0.0
        """processor time of a round where no messages come"""

    def run(self) -> None:
        """See Thread.run."""
        data = bytes(1 << 20)
        while True:
            hashlib.sha256(data)
            self.rounds += 1

    def time_alone(self, spin: Callable[[float], None]) -> None:
        """Time a round while `spin` lets some seconds pass."""
        clock = time.pthread_getcpuclockid(self.ident or 0)
        began = time.clock_gettime(clock), self.rounds
        spin(ALONE_S)
        rounds = max(1, self.rounds - began[1])
        self.alone_s = (time.clock_gettime(clock) - began[0]) / rounds


class _Side:
    """One of the processes."""

    def __init__(self, name: str, setting: Setting) -> None:
        import rclpy

        from dff_nodes.nodes import compat

        compat.init(None)
        self.node = rclpy.create_node(f'dff_link_rate_{name}')
        self._executor = compat.make_executor()
        self._executor.add_node(self.node)
        self._until = time.monotonic() + setting.limit_s
        self.setting, self.window, self.count = setting, setting.window, setting.count
        self._computing = _Computing() if setting.busy else None
        if self._computing:
            self._computing.start()

    def turn(self) -> None:
        """Let one thing happen; raises MeasurementError where that has gone on for too long."""
        self._executor.spin_once(timeout_sec=0.05)
        if time.monotonic() > self._until:
            raise MeasurementError('another process is not heard')

    def settle(self, is_heard: Callable[[], bool]) -> None:
        """Wait for the others, and time what is computed besides while all of them do so."""
        while not is_heard():
            self.turn()
        if self._computing:
            self._computing.time_alone(self.spin)

    def spin(self, seconds: float) -> None:
        """Let happen what happens in some seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn()

    def now(self) -> Times:
        """Tell the time, and what messages have used of the processor."""
        used = time.process_time()
        if self._computing:
            used -= self._computing.rounds * self._computing.alone_s
        return time.monotonic(), used

    def of_each(self, began: Times, ended: Times) -> Times:
        """Share what passed out to the messages that count."""
        clock, processor = (after - before for before, after in zip(began, ended, strict=True))
        counted = self.setting.counted
        return clock / counted, max(0.0, processor) / counted

    def receive(self, topic: str) -> Times:
        """Give credit for what comes."""
        from dff_msgs import msg

        from dff_nodes.nodes import qos

        arrived: list[Times] = []
        credit = self.node.create_publisher(msg.Credit, _credit_of(topic), qos.CREDIT)

        def take(_: msg.PartChunk) -> None:
            arrived.append(self.now())
            credit.publish(msg.Credit(expected=len(arrived)))

        self.node.create_subscription(msg.PartChunk, topic, take, qos.bulk(self.window))
        self.settle(lambda: bool(self.node.count_publishers(topic)))
        while len(arrived) < self.count:
            self.turn()
        return self.of_each(arrived[self.setting.first - 1], arrived[-1])

    def relay(self, topic: str, onward: _Sender) -> Times:
        """Pass on what comes, and give credit for it then."""
        from dff_msgs import msg

        from dff_nodes.nodes import qos

        waiting: deque[array[int]] = deque()
        credit = self.node.create_publisher(msg.Credit, _credit_of(topic), qos.CREDIT)
        self.node.create_subscription(
            msg.PartChunk,
            topic,
            lambda message: waiting.append(message.data),
            qos.bulk(self.window),
        )
        self.settle(lambda: onward.is_heard and bool(self.node.count_publishers(topic)))

        def pass_on() -> None:
            while waiting and onward.may_send:
                onward.send(waiting.popleft())
                credit.publish(msg.Credit(expected=onward.sent))

        return self._until_all_arrived(onward, pass_on)

    def send(self, onward: _Sender) -> Times:
        """Send as much as there is credit for, until all of it has arrived."""
        data = array('B', bytes(self.setting.message_bytes))
        self.settle(lambda: onward.is_heard)
        self.spin(BEGINS_S - ALONE_S)

        def send() -> None:
            while onward.sent < self.count and onward.may_send:
                onward.send(data)

        return self._until_all_arrived(onward, send)

    def _until_all_arrived(self, onward: _Sender, step: Callable[[], None]) -> Times:
        began: Times | None = None
        while onward.expected < self.count:
            step()
            self.turn()
            if began is None and onward.expected >= self.setting.first:
                began = self.now()
        return self.of_each(began or self.now(), self.now())


class _Sender:
    """Sends over a hop what there is credit for."""

    def __init__(self, side: _Side, topic: str) -> None:
        from dff_msgs import msg

        from dff_nodes.nodes import qos

        self.node, self.topic, self.window = side.node, topic, side.window
        self.sent = self.expected = 0
        self.message = msg.PartChunk
        self.publisher = self.node.create_publisher(msg.PartChunk, topic, qos.bulk(self.window))
        self.node.create_subscription(msg.Credit, _credit_of(topic), self._go_on, qos.CREDIT)

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


def _main(name: str, setting: Setting) -> None:
    """Be one of the processes; print what a message took, on the clock and processor, s."""
    side = _Side(name, setting)
    if name == SEND:
        print(json.dumps(side.send(_Sender(side, HOP))))
        return
    if name == RELAY:
        times = side.relay(HOP, _Sender(side, LAST_HOP))
    else:
        times = side.receive(LAST_HOP if setting.relayed else HOP)
    print(json.dumps(times))
    time.sleep(0.5)  # until the last credit is out


if __name__ == '__main__':
    _main(sys.argv[1], Setting(**json.loads(sys.argv[2])))
