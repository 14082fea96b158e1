# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints at the coordinator, so that a layer can go on where its device is lost for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dff_msgs import msg
from rclpy.node import Node

from dff_nodes.nodes import messages, qos
from dff_nodes.nodes.link import Guard, IncomingLink, OutgoingLink, Rewound, Stopped
from dff_nodes.runs.checkpoint import KEPT, CheckpointInfo, CheckpointStore
from dff_nodes.runs.chunks import END, Chunk, ChunkError, ChunkFile, chunks_of
from dff_nodes.runs.fault_points import FaultPoint, reach
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.segment import CHUNK_BYTES
from dff_nodes.stream.codec import Rejected
from dff_nodes.stream.receiver import Receiver

WINDOW = 4
REPLAY_BYTES = 2 * WINDOW * CHUNK_BYTES
RESEND_S = 1.0
STORE_S = 5.0
"""for the coordinator to store what it has received; then it is sent again"""
END_S = 2.0
"""for the coordinator to store what it has begun to, before it ends"""
ENDLESS = 2**62
POLL_S = 0.25
PREFIX = 'replica_'
HEAD_BYTES = 1 << 20
"""room for the names of a checkpoint's tensors"""


def largest_checkpoint(resolved: ResolvedRun, layer: int) -> int:
    """Bytes that a checkpoint of a layer can have at most; its moments are as large as itself."""
    return 8 * 4 * resolved.layers[layer].parameters + HEAD_BYTES


class Background:
    """
    A guard for links that are used beside the training: it waits in silence.

    :param node: whose life counts.
    """

    def __init__(self, node: Guard) -> None:
        self.changed: threading.Condition = node.changed
        self.link: OutgoingLink | None = None
        self.fail, self.reject = node.fail, node.reject
        self._ended = node.ended

    def check(self) -> None:
        """Raise Stopped if the node ends, Rewound if the link must begin again."""
        if self._ended():
            raise Stopped('the node ends')
        if self.link is not None and self.link.rewound:
            raise Rewound

    def waiting(self, reason: str | None) -> None:
        """Say nothing."""


def _outgoing(
    node: Node, run_id: str, layer: int, topic: str, describe: Callable[[], str]
) -> tuple[OutgoingLink, Background]:
    guard = Background(node)
    publisher = node.create_publisher(
        msg.CheckpointChunk, f'layer_{layer}/{topic}', qos.bulk(WINDOW)
    )
    credit = f'layer_{layer}/{topic}_credit'
    link = OutgoingLink(node, guard, run_id, publisher, credit, ENDLESS, describe)
    guard.link = link
    return link, guard


def _incoming(
    node: Node, run_id: str, layer: int, topic: str, durable: Callable[[], int], parts: ChunkFile
) -> IncomingLink:
    name = f'layer_{layer}/{topic}'
    link = IncomingLink(node, node, run_id, f'{name}_credit', name, durable)

    def decode(message: msg.CheckpointChunk) -> Chunk:
        if message.layer != layer:
            raise Rejected(f'layer is {message.layer}, {layer} is right')
        data = bytes(memoryview(message.data)[: CHUNK_BYTES + 1])
        chunk = Chunk(message.item, message.offset, message.total, data)
        try:
            parts.check(chunk)
        except ChunkError as error:
            raise Rejected(str(error)) from error
        return chunk

    def on_chunk(message: msg.CheckpointChunk) -> None:
        link.offer(message, message.sequence, lambda: decode(message), len(message.data))

    node.create_subscription(msg.CheckpointChunk, name, on_chunk, qos.CHUNKS_RECEIVED)
    return link


class _Sender:
    """Sends files as chunks under credit, on a thread of its own."""

    def __init__(self, node: Any, layer: int, topic: str, describe: Callable[[], str]) -> None:
        self._node = node
        self._layer = layer
        self.link, self._guard = _outgoing(node, node.run_id, layer, topic, describe)
        self.next_sequence = 0
        self.begun = False

    def begin(self) -> None:
        """Begin with what the receiver wants, once it has said so."""
        self.link.rewound = False
        while self.link.credit is None:
            self._guard.check()
            with self._guard.changed:
                self._guard.changed.wait(POLL_S)
        self.next_sequence = self.link.wanted
        self.link.begin(self.next_sequence, REPLAY_BYTES, RESEND_S)
        self.begun = True

    def send(self, chunk: Chunk) -> None:
        """Send one part; raises Rewound if the receiver came back and knows nothing of it."""
        self._guard.check()
        node = self._node
        self.link.send(
            lambda sequence: messages.chunk(
                self._layer, sequence, chunk, node.identity, node.get_clock().now().to_msg()
            ),
            len(chunk.data),
        )
        self.next_sequence += 1

    def end(self) -> None:
        """Wait until all is received, and keep nothing for whoever wants something next."""
        with self._guard.changed:
            while self.link.wanted < self.next_sequence:
                self._guard.check()
                self._guard.changed.wait(POLL_S)
            self.link.end()

    def await_stored(self) -> bool:
        """Give whether what was sent is stored; not so if it was received and could not be."""
        limit = time.monotonic() + STORE_S
        while self.link.credit.durable < self.next_sequence:
            self._guard.check()
            if self.link.wanted < self.next_sequence:
                limit = time.monotonic() + STORE_S
            elif time.monotonic() > limit:
                return False
            with self._guard.changed:
                self._guard.changed.wait(POLL_S)
        return True


class ReplicaUpload:
    """
    Keeps the newest checkpoints of a layer at the coordinator too; the layer's end.

    A checkpoint that is there before the one before has travelled takes its place.

    :param node: the layer's node.
    """

    def __init__(self, node: Any, store: CheckpointStore, on_stored: Callable[[], None]) -> None:
        self._node = node
        self._store = store
        self._on_stored = on_stored
        self._sender = _Sender(node, node.index, 'replica', lambda: 'the coordinator')
        self._stored: list[int] = []
        self._wanted: int | None = None
        self._thread = ThreadPoolExecutor(1, 'replica')
        self._sending: Future | None = None

    @property
    def durable(self) -> int:
        """Item of the older of the two newest replicas, 0 before there are two."""
        return self._stored[-KEPT] if len(self._stored) >= KEPT else 0

    def upload(self, info: CheckpointInfo) -> None:
        """Send a checkpoint as soon as the one before is through."""
        self._wanted = info.next_item
        if self._sending is None or self._sending.done():
            self._sending = self._thread.submit(self._send_all)

    def _send_all(self) -> None:
        while self._wanted is not None:
            item, self._wanted = self._wanted, None
            try:
                self._send(item)
            except Stopped:
                return
            except Rewound:
                self._wanted = self._wanted or item
                self._sender.begun = False
            except FileNotFoundError:
                continue  # a newer one has taken its place on disk

    def _send(self, item: int) -> None:
        """Send a checkpoint until it is stored."""
        if not self._sender.begun:
            self._sender.begin()
        stored = False
        while not stored and self._wanted is None:
            for chunk in chunks_of(self._store.path(item), item):
                self._sender.send(chunk)
                reach(FaultPoint.IN_REPLICATION)
            stored = self._sender.await_stored()
        if stored:
            with self._node.changed:
                self._stored = sorted({*self._stored, item})[-KEPT:]
            self._on_stored()


class ReplicaDownload:
    """
    Fetches the replicas of a layer from the coordinator; the layer's end.

    :param node: the layer's node.
    """

    def __init__(self, node: Any, store: CheckpointStore) -> None:
        self._node = node
        largest = largest_checkpoint(node.resolved, node.index)
        config_hash = node.run_config.config_hash
        self._parts = ChunkFile(store, largest, node.run_id, config_hash)
        self._link = _incoming(
            node, node.run_id, node.index, 'restore', lambda: self._taken, self._parts
        )
        self._taken = 0

    def fetch(self, meanwhile: Callable[[], None]) -> list[int]:
        """
        Fetch what there is into the layer's own folder; give the items.

        :param meanwhile: called again and again while nothing has come.
        :raises ChunkError, OSError: if it cannot be put together or written.
        """
        self._taken = 0
        self._link.begin(Receiver(0, WINDOW, self._node.incarnation))
        try:
            return self._take_all(meanwhile)
        finally:
            # A coordinator that came back would take more credit for a wish to have them again.
            self._link.end()

    def _take_all(self, meanwhile: Callable[[], None]) -> list[int]:
        fetched = []
        while True:
            chunk = self._link.take()
            if chunk is None:
                meanwhile()
                continue
            self._taken += 1
            if chunk == END:
                return fetched
            if self._parts.add(chunk):
                fetched.append(chunk.item)


class ReplicaKeeper:
    """
    Stores the replicas of all layers and gives them out again; the coordinator's end.

    :param node: the coordinator's node.
    :param folder: of the replicas.
    """

    def __init__(self, node: Any, folder: Path) -> None:
        self._node = node
        layers = range(len(node.resolved.layers))
        self._stores = [CheckpointStore(folder, layer, PREFIX) for layer in layers]
        for store in self._stores:
            store.sweep()
        self._taken = [0 for _ in layers]
        self._durable = [0 for _ in layers]
        """parts of each layer that need not be sent again"""
        self._served = [0 for _ in layers]
        self._parts = [
            ChunkFile(
                store,
                largest_checkpoint(node.resolved, store.layer),
                node.run_id,
                node.task.config_hash,
            )
            for store in self._stores
        ]
        self._links = [
            _incoming(
                node,
                node.run_id,
                layer,
                'replica',
                lambda layer=layer: self._durable[layer],
                self._parts[layer],
            )
            for layer in layers
        ]
        self._senders = [
            _Sender(node, layer, 'restore', lambda layer=layer: f'layer_{layer}')
            for layer in layers
        ]
        for link in self._links:
            link.begin(Receiver(0, WINDOW, node.incarnation))
        # One for each layer: it is never served twice at once.
        self._serving = [ThreadPoolExecutor(1, f'restore_{layer}') for layer in layers]
        self._storing = threading.Thread(target=self._store_all, name='replicas', daemon=True)
        self._storing.start()
        node.create_timer(POLL_S, self._serve_requests)

    def end(self) -> None:
        """Leave nothing unfinished behind; the node has ended."""
        self._storing.join(END_S)
        if not self._storing.is_alive():
            for parts in self._parts:
                parts.discard()

    def _store_all(self) -> None:
        while not self._node.ended():
            moved = [self._store_next(layer) for layer in range(len(self._links))]
            if not any(moved):
                time.sleep(0.05)

    def _store_next(self, layer: int) -> bool:
        """Write one chunk; give whether there was one."""
        chunk = self._links[layer].take()
        if chunk is None:
            return False
        self._taken[layer] += 1
        # The layer need not keep what was taken, as a coordinator that comes back asks for the
        # whole file again; but the last part is owed until the checkpoint is stored.
        self._durable[layer] = self._taken[layer] - 1
        try:
            complete = self._parts[layer].add(chunk)
        except (ChunkError, OSError) as error:
            self._node.get_logger().warning(
                f'the replica of layer_{layer} cannot be stored: {error}',
                throttle_duration_sec=10.0,
            )
            return True
        if complete:
            self._durable[layer] = self._taken[layer]
            self._stores[layer].keep(self._stores[layer].items()[-KEPT:])
            self._links[layer].give_credit()
        return True

    def _serve_requests(self) -> None:
        """A layer that gives credit for replicas wants them."""
        for layer, sender in enumerate(self._senders):
            credit = sender.link.credit
            if credit is not None and credit.incarnation > self._served[layer]:
                self._served[layer] = credit.incarnation
                sender.link.rewound = True  # ends what is still sent to the one before
                self._serving[layer].submit(self._serve, layer, credit.incarnation)

    def _serve(self, layer: int, incarnation: int) -> None:
        """Send the replicas of a layer, unless a newer node of it has asked by now."""
        if incarnation != self._served[layer]:
            return
        sender, store = self._senders[layer], self._stores[layer]
        valid, wrong = store.valid(self._node.run_id, self._node.task.config_hash)
        for text in wrong:
            self._node.get_logger().error(f'replica: {text}')
        try:
            sender.begin()
            for info in valid:
                self._send(sender, store.path(info.next_item), info.next_item)
            sender.send(END)
            # A later node of the layer would be sent this END again, before what came since.
            sender.end()
        except (Stopped, Rewound):
            return

    def _send(self, sender: _Sender, path: Path, item: int) -> None:
        """Send one replica, as far as it can be read: the layer does without it then."""
        try:
            for chunk in chunks_of(path, item):
                sender.send(chunk)
        except OSError as error:
            self._node.get_logger().error(f'the replica {path} cannot be read: {error}')
