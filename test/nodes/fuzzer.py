# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Publishes hostile messages on every topic of a run: `python3 fuzzer.py /RUN MEMBERS COUNT`.

A process of its own, as an attacker's would be. It listens first, so that each message is a real
one of this run with one thing wrong. What it sends comes from a seed. Its last line of output is
JSON: what was sent of each kind, and how many messages each node must, and may, have refused.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import rclpy
from dff_msgs.msg import (
    Activations,
    CheckpointChunk,
    Credit,
    Goodness,
    LayerMetrics,
    LayerStatus,
    PartChunk,
    PartRequest,
    RunConfig,
)
from rcl_interfaces.srv import GetParameterTypes
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.serialization import serialize_message

from dff_nodes.nodes import compat, qos

LIMIT_S = 60.0
"""for what the nodes answer within milliseconds"""
FAR = 1 << 40
"""beyond every item of every run"""
HIGHEST = (1 << 32) - 1
PLACEHOLDER = 'placeholder_of_bytes_that_are_no_text'
NOT_UTF8 = (b'\xff\xfe\xc3\x28\xed\xa0\x80\xf8' * 5)[: len(PLACEHOLDER)]
DEPTHS = {'goodness': 8, 'status': 10, 'metrics': 50, 'config': 1}
"""of the receivers' histories; of the others 8 at least"""

Change = Callable[[Any, random.Random], Any]
"""makes a genuine message hostile; gives bytes instead to choose the encoding too"""


@dataclass(frozen=True)
class Kind:
    """One way for a message to be hostile."""

    name: str
    change: Change
    counted: bool = True
    """
    Whether every one must be counted by its receiver. A replayed message is an ordinary duplicate
    and dropped as one; what the middleware cannot decode never reaches a node.
    """
    number: str = ''
    """far: beyond the end; next: the very message that its receiver waits for; else its own"""


def sets(**values: Any) -> Change:
    """Set fields; a function is called with the generator of random numbers."""

    def change(message: Any, numbers: random.Random) -> Any:
        for name, value in values.items():
            setattr(message, name, value(numbers) if callable(value) else value)
        return message

    return change


def some_run(numbers: random.Random) -> list[int]:
    """Make a run id."""
    return list(numbers.randbytes(16))


def far(numbers: random.Random) -> int:
    """Make a number that is beyond the end of every run."""
    return numbers.choice([FAR, 1 << 63, (1 << 64) - 1]) - numbers.randrange(1 << 20)


def zeros(count: int) -> array:
    """Make a payload."""
    return array('B', bytes(count))


def truncated(message: Any, numbers: random.Random) -> bytes:
    """Cut the encoded message off."""
    data = serialize_message(message)
    return data[: numbers.randrange(4, len(data))]


def garbled(message: Any, numbers: random.Random) -> bytes:
    """Overwrite some bytes of a message of another run."""
    message.run_id = some_run(numbers)
    data = bytearray(serialize_message(message))
    for _ in range(numbers.randint(1, 16)):
        data[numbers.randrange(40, len(data))] = numbers.randrange(256)
    return bytes(data)


def endless(message: Any, numbers: random.Random) -> bytes:
    """Claim a sequence of four thousand million elements at the end of the message."""
    data = serialize_message(message)
    return data[:-4] + b'\xff\xff\xff\xff'


def not_utf8(name: str, **values: Any) -> Change:
    """Put bytes that are no UTF-8 into a text field."""

    def change(message: Any, numbers: random.Random) -> bytes:
        sets(**values)(message, numbers)
        setattr(message, name, PLACEHOLDER)
        return serialize_message(message).replace(PLACEHOLDER.encode(), NOT_UTF8)

    return change


def numbered(kinds: list[Kind]) -> list[Kind]:
    """
    Give each kind far beyond the end, and as the message that the receiver waits for.

    The latter may be a late duplicate by the time it arrives, which is not looked into.
    """
    return [
        *(replace(each, number='far') for each in kinds),
        *(
            replace(each, name=f'{each.name}, next', number='next', counted=False)
            for each in kinds
        ),
    ]


FOREIGN = Kind('foreign run', sets(run_id=some_run))
RAW = [
    Kind('truncated', truncated, counted=False),
    Kind('garbled', garbled, counted=False),
]
REPLAYED = Kind('replayed', sets(), counted=False)

WRONG_ITEMS = [
    Kind('unknown kind', sets(kind=lambda numbers: numbers.randint(100, 255))),
    Kind('unknown mark', sets(kind=3, mark=lambda numbers: numbers.randint(100, 255))),
    Kind('mark that marks nothing', sets(kind=3, mark=0)),
    Kind('mark with a payload', sets(kind=3, mark=1)),
    Kind('unknown dtype', sets(dtype=lambda numbers: numbers.randint(100, 255))),
    Kind('no samples', sets(samples=0)),
    Kind('huge samples', sets(samples=HIGHEST)),
    Kind('huge candidates', sets(candidates=HIGHEST)),
    Kind('huge shape', sets(shape=array('I', [HIGHEST] * 3))),
    Kind('long shape', sets(shape=array('I', [1] * 1000))),
    Kind('no shape', sets(shape=array('I'))),
    Kind('short payload', sets(positive=lambda numbers: zeros(numbers.randint(1, 9)))),
    Kind('long payload', sets(positive=zeros(100_000))),
    Kind('too many labels', sets(labels=array('H', [0] * 5000))),
    Kind('edges without a graph', sets(edges=array('I', [0, 1]))),
    Kind('no such classes', sets(labels=array('H', [65535] * 64))),
    Kind('rows of a whole item', sets(rows=array('I', [HIGHEST] * 64))),
    Kind('running scores of a whole item', sets(running_scores=array('f', [float('nan')] * 640))),
]
ITEMS = [
    FOREIGN,
    REPLAYED,
    Kind('replayed by a leaping incarnation', sets(incarnation=HIGHEST), counted=False),
    Kind('old incarnation', sets(incarnation=0)),
    Kind('future', sets(item=far)),
    *numbered(WRONG_ITEMS),
    *RAW,
    Kind('endless payload', endless, counted=False),
]
NOT_FINITE = Kind(
    'not finite',
    sets(positive=array('B', b'\x00\x00\xc0\x7f' * 64 * 64)),
)
CREDITS = [
    FOREIGN,
    REPLAYED,
    Kind('old incarnation', sets(incarnation=0)),
    Kind('leaping incarnation', sets(incarnation=HIGHEST, window=0)),
    Kind('expects what was never sent', sets(expected=far)),
    Kind('absurd window', sets(window=HIGHEST)),
    Kind('durable before it is received', sets(durable=far)),
    *RAW,
]
WRONG_SCORES = [
    Kind('not awaited', sets(item=far)),
    Kind('unknown measure', sets(measure=77)),
    Kind('huge samples', sets(samples=HIGHEST, classes=HIGHEST)),
    Kind('long scores', sets(scores=array('f', [0.0] * 20_000))),
    Kind('no scores', sets(scores=array('f'))),
    Kind('not finite', sets(scores=array('f', [float('nan')] * 640))),
    Kind('rows of a whole item', sets(rows=array('I', [HIGHEST] * 64))),
]
SCORES = [
    FOREIGN,
    REPLAYED,
    Kind('replayed by a leaping incarnation', sets(incarnation=HIGHEST), counted=False),
    Kind('old incarnation', sets(incarnation=0)),
    Kind('no such layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
    Kind('future', sets(sequence=far)),
    *numbered(WRONG_SCORES),
    *RAW,
    Kind('endless scores', endless, counted=False),
]
WRONG_CHUNKS = [
    Kind('huge total', sets(total=lambda numbers: numbers.choice([1 << 40, (1 << 64) - 1]))),
    Kind('offset beyond the end', sets(offset=far)),
    Kind('more data than the file', sets(total=1)),
    Kind('no data', sets(data=array('B'))),
    Kind('long data', sets(data=zeros(300_000), total=1 << 20)),
    Kind('another layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
]
CHUNKS = [
    FOREIGN,
    REPLAYED,
    Kind('old incarnation', sets(incarnation=0)),
    Kind('leaping incarnation', sets(incarnation=HIGHEST)),
    Kind('future', sets(sequence=far)),
    *numbered(WRONG_CHUNKS),
    *RAW,
    Kind('endless data', endless, counted=False),
]
PARTS = [
    FOREIGN,
    REPLAYED,
    Kind('no incarnation', sets(incarnation=0)),
    Kind('leaping incarnation', sets(incarnation=HIGHEST)),
    Kind('no such worker', sets(node=lambda numbers: numbers.randint(100, 65535))),
    Kind('no such layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
    Kind('no such chapter', sets(chapter=lambda numbers: numbers.randint(1 << 20, HIGHEST))),
    Kind('huge total', sets(total=lambda numbers: numbers.choice([1 << 40, (1 << 64) - 1]))),
    Kind('offset beyond the end', sets(offset=far)),
    Kind('more data than the part', sets(total=1)),
    Kind('no data', sets(data=array('B'))),
    Kind('long data', sets(data=zeros(300_000), total=1 << 20)),
    # As far as fields tell it is genuine: its digest is not, so the part is asked for again.
    Kind('other data', sets(data=zeros(64), total=1000, offset=0), counted=False),
    *RAW,
    Kind('endless data', endless, counted=False),
]
REQUESTS = [
    FOREIGN,
    REPLAYED,
    Kind('no incarnation', sets(incarnation=0)),
    Kind('leaping incarnation', sets(incarnation=HIGHEST)),
    Kind('no such worker', sets(node=lambda numbers: numbers.randint(100, 65534))),
    Kind('no such layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
    Kind('no such chapter', sets(chapter=lambda numbers: numbers.randint(1 << 20, HIGHEST))),
    Kind('absurd window', sets(window=HIGHEST)),
    Kind('offset beyond the end', sets(offset=far)),
    Kind('more done than there is', sets(done=far)),
    *RAW,
]
STATUSES = [
    FOREIGN,
    # Without an incarnation it is of a node that has not joined yet, which says nothing wrong; it
    # is refused only by the coordinator, as an error of a layer that takes part.
    Kind('not joined', sets(incarnation=0), counted=False),
    Kind('joined to no run', sets(run_id=[0] * 16, incarnation=1)),
    Kind('leaping incarnation', sets(incarnation=HIGHEST)),
    Kind(
        'error without a run',
        sets(run_id=[0] * 16, state=4, error='gone', incarnation=0),
        counted=False,
    ),
    Kind('error of a foreign run', sets(run_id=some_run, state=4, error='gone')),
    Kind('no such layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
    Kind('unknown state', sets(state=lambda numbers: numbers.randint(100, 255))),
    Kind('not finite', sets(rss_mb=float('nan'), peak_rss_mb=float('inf'))),
    Kind('long text', sets(host='x' * 50_000)),
    Kind('many checkpoints', sets(checkpoints=array('Q', range(5000)))),
    Kind('not UTF-8', not_utf8('host')),
    Kind('not UTF-8, foreign run', not_utf8('error', run_id=some_run, state=4)),
    *RAW,
]
METRICS = [
    FOREIGN,
    Kind('no such layer', sets(layer=lambda numbers: numbers.randint(100, 65535))),
    Kind('not finite', sets(loss=float('nan'))),
    Kind('infinite', sets(samples_per_second=float('inf'))),
    Kind('future', sets(item=far)),
    Kind('old incarnation', sets(incarnation=0)),
    *RAW,
]
CONFIGS = [
    FOREIGN,
    Kind('failure of a foreign run', sets(run_id=some_run, phase=2, reason='x' * 1000)),
    Kind('end of a foreign run', sets(run_id=some_run, phase=1)),
    Kind('unknown protocol', sets(protocol_version=lambda numbers: numbers.randint(100, 65535))),
    Kind('unknown phase', sets(phase=lambda numbers: numbers.randint(100, 255))),
    Kind('no JSON', sets(run_id=some_run, config='[' * 50_000)),
    Kind('silence is not finite', sets(run_id=some_run, silent_s=array('f', [float('nan')]))),
    Kind('path as a name', sets(run_id=some_run, run_name='../../hostile')),
    Kind('not UTF-8', not_utf8('run_name', run_id=some_run)),
    *RAW,
]


@dataclass
class Target:
    """A topic, the nodes that take it in, and what is wrong with what is sent there."""

    topic: str
    type: type
    kinds: list[Kind]
    receivers: Callable[[Any], list[str]]
    genuine: Any = None
    sent: Counter[str] = field(default_factory=Counter)

    @property
    def wanted_on(self) -> str:
        """Topic on which the receiver says what it wants."""
        if self.type is Goodness:
            return f'layer_{self.genuine.layer}/goodness_credit'
        if self.type is CheckpointChunk:
            return f'{self.topic}_credit'
        return self.topic.replace('input', 'credit')

    @property
    def count(self) -> int:
        """Messages sent."""
        return sum(self.sent.values())

    @property
    def burst(self) -> int:
        """Messages at once: at most half of what the receiver's middleware keeps for it."""
        return max(1, DEPTHS.get(self.topic, 8) // 2)


def targets(layers: int) -> Iterator[Target]:
    """Give every topic of a run."""
    nodes = ['coordinator', *(f'layer_{index}' for index in range(layers))]
    for index in range(layers):
        me, before = nodes[index + 1], nodes[index]
        kinds = [*ITEMS, *numbered([NOT_FINITE])] if index else ITEMS
        yield Target(f'{me}/input', Activations, kinds, lambda _, me=me: [me])
        yield Target(f'{me}/credit', Credit, CREDITS, lambda _, before=before: [before])
        yield Target(f'{me}/goodness_credit', Credit, CREDITS, lambda _, me=me: [me])
        yield Target(f'{me}/replica', CheckpointChunk, CHUNKS, lambda _: nodes[:1])
        yield Target(f'{me}/replica_credit', Credit, CREDITS, lambda _, me=me: [me])

    def of_status(message: LayerStatus) -> list[str]:
        """Beside the coordinator, the layer itself and the one behind heed its heartbeat."""
        of = message.layer
        return ['coordinator', *nodes[of + 1 : of + 3]]

    yield Target('goodness', Goodness, SCORES, lambda _: nodes[:1])
    yield Target('status', LayerStatus, STATUSES, of_status)
    yield Target('metrics', LayerMetrics, METRICS, lambda _: nodes[:1])
    yield Target('config', RunConfig, CONFIGS, lambda _: nodes)


def chapter_targets(workers: int) -> Iterator[Target]:
    """Give every topic of a run with chapters."""
    nodes = ['coordinator', *(f'worker_{index}' for index in range(workers))]
    for me in nodes:
        yield Target(f'{me}/parts', PartChunk, PARTS, lambda _, me=me: [me])
    for me in nodes[1:]:
        yield Target(f'{me}/part_requests', PartRequest, REQUESTS, lambda _, me=me: [me])
    too_far = Kind('more made than there is', sets(item=far))
    yield Target('status', LayerStatus, [*STATUSES, too_far], lambda _: nodes)
    # Which worker a report is of is not known, so none of its incarnations is old.
    metrics = [each for each in METRICS if each.name != 'old incarnation']
    yield Target('metrics', LayerMetrics, metrics, lambda _: nodes[:1])
    yield Target('config', RunConfig, CONFIGS, lambda _: nodes)


class Fuzzer:
    """
    Sends hostile messages as fast as their receivers take them in, so that none is lost.

    Neither publishing nor the middleware's acknowledgement says that a node has taken a message
    in: a full history is overwritten. A node answers a question about its parameters in the
    order of arrival, so after the answer all that came before has been looked at.
    """

    def __init__(
        self, node: Node, space: str, targets: list[Target], names: list[str], seed: int
    ) -> None:
        self.node = node
        self.space = space
        self.numbers = random.Random(seed)
        self.targets = targets
        self.must: Counter[str] = Counter()
        self.may: Counter[str] = Counter()
        self.wanted: dict[str, int] = {}
        self.publishers = {}
        self.questions = {}
        self.subscriptions = []
        self.executor = compat.make_executor()
        self.executor.add_node(node)
        for target in self.targets:
            profile = qos.LATCHED if target.topic == 'config' else qos.bulk(25)
            name = f'{space}/{target.topic}'
            self.publishers[target.topic] = node.create_publisher(target.type, name, profile)
            self.subscriptions.append(
                node.create_subscription(target.type, name, partial(self._keep, target), profile)
            )
        for name in names:
            self.questions[name] = node.create_client(
                GetParameterTypes, f'{space}/{name}/get_parameter_types'
            )

    def _keep(self, target: Target, message: Any) -> None:
        """Keep the first genuine message, of credit the newest; what is hostile comes too."""
        first = target.genuine
        if first is None:
            target.genuine = message
        elif target.type is Credit:
            same = bytes(message.run_id) == bytes(first.run_id) and (
                message.incarnation == first.incarnation
            )
            if same and message.window <= 1024 and message.durable <= message.expected < FAR:
                target.genuine = message
        if target.type is Credit:
            self.wanted[target.topic] = target.genuine.expected

    def listen(self) -> None:
        """Wait until a genuine message of every topic has come."""
        limit = time.monotonic() + LIMIT_S
        while missing := [each.topic for each in self.targets if each.genuine is None]:
            if time.monotonic() > limit:
                raise TimeoutError(f'nothing came on {missing}')
            self.executor.spin_once(timeout_sec=0.1)
        for target, subscription in zip(self.targets, self.subscriptions, strict=True):
            if target.type is not Credit:
                self.node.destroy_subscription(subscription)
        for name, question in self.questions.items():
            if not question.wait_for_service(LIMIT_S):
                raise TimeoutError(f'{name} takes no questions')

    def attack(self, count: int, only: str = '') -> None:
        """Send so many messages on every topic, the kinds in turn."""
        chosen = {
            target.topic: [each for each in target.kinds if only in f'{target.topic}: {each.name}']
            for target in self.targets
        }
        while todo := [each for each in self.targets if chosen[each.topic] and each.count < count]:
            for target in todo:
                for _ in range(min(target.burst, count - target.count)):
                    kinds = chosen[target.topic]
                    self.send(target, kinds[target.count % len(kinds)])
            self.await_taken()
        for publisher in self.publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=LIMIT_S))
        self.await_taken()

    def send(self, target: Target, kind: Kind) -> None:
        """Send one message."""
        message = copy.deepcopy(target.genuine)
        if kind.number:
            name = 'item' if target.type is Activations else 'sequence'
            number = self.wanted[target.wanted_on] if kind.number == 'next' else far(self.numbers)
            setattr(message, name, number)
        hostile = kind.change(message, self.numbers)
        self.publishers[target.topic].publish(hostile)
        target.sent[kind.name] += 1
        (self.must if kind.counted else self.may).update(target.receivers(message))

    def await_taken(self) -> None:
        """Wait until every node has looked at all that was sent."""
        request = GetParameterTypes.Request(names=['use_sim_time'])
        answers = {name: each.call_async(request) for name, each in self.questions.items()}
        limit = time.monotonic() + LIMIT_S
        while waiting := [name for name, answer in answers.items() if not answer.done()]:
            if time.monotonic() > limit:
                raise TimeoutError(f'{waiting} did not answer')
            self.executor.spin_once(timeout_sec=0.1)


def main() -> None:
    """Attack a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('space', help='namespace of the run')
    parser.add_argument('members', type=int, help='layers, or workers')
    parser.add_argument('count', type=int, help='messages on each topic')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', default='', help='kinds whose "topic: name" has this in it')
    parser.add_argument('--chapters', action='store_true', help='the members are workers')
    arguments = parser.parse_args()
    rclpy.init(args=[])
    node = rclpy.create_node('fuzzer')
    every = chapter_targets if arguments.chapters else targets
    kind = 'worker' if arguments.chapters else 'layer'
    names = ['coordinator', *(f'{kind}_{index}' for index in range(arguments.members))]
    attacked = list(every(arguments.members))
    fuzzer = Fuzzer(node, arguments.space, attacked, names, arguments.seed)
    fuzzer.listen()
    print('attacking', file=sys.stderr, flush=True)
    fuzzer.attack(arguments.count, arguments.only)
    print(
        json.dumps(
            {
                'sent': {each.topic: dict(each.sent) for each in fuzzer.targets},
                'must': dict(fuzzer.must),
                'may': dict(fuzzer.may),
            }
        )
    )


if __name__ == '__main__':
    main()
