# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How a node gives the parts that it has made to whoever asks."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dff_msgs import msg

from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.part_exchange import ASK_S, Tensors, inbox, largest_part, requests
from dff_nodes.runs.checkpoint import CheckpointInfo, pack
from dff_nodes.runs.segment import CHUNK_BYTES
from dff_nodes.schedules.chapters import COORDINATOR, ChapterPlan, Need, Part

MOST_WINDOW = 64
PACKED = 3
"""parts that are kept ready to be sent, besides those that are being sent"""


@dataclass
class _Asked:
    """What one node wants."""

    need: Need
    incarnation: int
    next_offset: int
    limit: int
    """offset up to which there is room"""


class PartServer:
    """
    Sends the parts that this node has made to whoever asks, on a thread of its own.

    Knows nothing of who has what: a request says where to begin, and how far there is room.

    :param node: a Participant with `run_id` and `incarnation`.
    :param worker: its number, or COORDINATOR.
    :param read: gives a part that was made, None if it is not.
    :param learned: names of the tensors of a layer that travel where it is not whole.
    :param on_done: is told what a node has finished: its number, and how much.
    :param is_gone: whether a part was made here and is no more.
    """

    def __init__(
        self,
        node: Any,
        plan: ChapterPlan,
        worker: int,
        read: Callable[[Part], Tensors | None],
        learned: Callable[[int], set[str]],
        on_done: Callable[[int, int], None],
        config_hash: str,
        is_gone: Callable[[Part], bool] = lambda part: False,
    ) -> None:
        self._node = node
        self._plan = plan
        self._worker = worker
        self._config_hash = config_hash
        self._read = read
        self._learned = learned
        self._on_done = on_done
        self.sent_bytes = 0
        self._asked: dict[int, _Asked] = {}
        self._known: dict[int, int] = {}
        self._packed: dict[Need, bytes] = {}
        self._is_gone = is_gone
        self._news = 0
        """rises with everything that may let a chunk go"""
        self._lock = threading.Condition()
        others = [each for each in range(plan.workers) if each != worker]
        self._publishers = {
            each: node.create_publisher(msg.PartChunk, inbox(each), qos.PART_CHUNKS)
            for each in (*others, *([] if worker == COORDINATOR else [COORDINATOR]))
        }
        node.create_subscription(
            msg.PartRequest, requests(worker), self._on_request, qos.PART_REQUESTS
        )
        self._thread = threading.Thread(target=self._serve, name='serve', daemon=True)
        self._thread.start()

    def there_is_more(self) -> None:
        """A part was made: somebody may wait for it."""
        with self._lock:
            self._news += 1
            self._lock.notify_all()

    def _on_request(self, message: msg.PartRequest) -> None:
        if wrong := self._what_is_wrong(message):
            self._node.reject(requests(self._worker), wrong)
            return
        self._known[message.node] = message.incarnation
        self._on_done(message.node, message.done)
        if message.window == 0:
            return
        need = Need(Part(message.chapter, message.layer), message.whole)
        limit = message.offset + message.window * CHUNK_BYTES
        with self._lock:
            asked = self._asked.get(message.node)
            new = asked is None or asked.need != need or asked.incarnation != message.incarnation
            if new or message.again:
                asked = _Asked(need, message.incarnation, message.offset, limit)
                self._asked[message.node] = asked
            asked.limit = max(asked.limit, limit)
            self._news += 1
            self._lock.notify_all()

    def _what_is_wrong(self, message: msg.PartRequest) -> str | None:
        if messages.run_id_text(message.run_id) != self._node.run_id:
            return 'it belongs to another run'
        if message.node >= self._plan.workers and message.node != COORDINATOR:
            return f'there is no worker {message.node}'
        if message.node == self._worker:
            return 'it comes from this worker itself'
        part = Part(message.chapter, message.layer)
        if not self._plan.exists(part):
            return f'there is no layer {part.layer} of chapter {part.chapter}'
        if message.window and self._plan.maker(part) != self._worker:
            return f'layer {part.layer} of chapter {part.chapter} is made elsewhere'
        if message.window and message.node not in self._plan.takers(part):
            return f'its node does not need layer {part.layer} of chapter {part.chapter}'
        if message.done > self._most_done(message.node):
            return f'done is {message.done}, more than there is to do'
        if not message.incarnation:
            return 'it has no incarnation'
        if message.window > MOST_WINDOW:
            return f'window is {message.window}, at most {MOST_WINDOW} is right'
        if message.offset > largest_part(self._plan, Need(part, message.whole)):
            return f'offset {message.offset} is beyond the part'
        return soundness.of_incarnation(message.incarnation, self._known.get(message.node, 0))

    def _most_done(self, node: int) -> int:
        if node == COORDINATOR:
            return self._plan.chapters
        return self._plan.count_of(node)

    # ---- sending, on the thread ------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._node.ended():
                with self._lock:
                    asked, news = list(self._asked.items()), self._news
                moved = [self._send_next(node, each) for node, each in asked]
                with self._lock:
                    # What came while no lock was held must not wait for the next look.
                    if not any(moved) and news == self._news:
                        self._lock.wait(ASK_S)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the node ends with it
            self._node.fail(error)

    def _send_next(self, node: int, asked: _Asked) -> bool:
        """Send one chunk to a node, if there is room for it and its part is there."""
        with self._lock:
            offset = asked.next_offset
            if offset >= asked.limit:
                return False
        data = self._data(asked.need)
        if data is None:
            if self._is_gone(asked.need.part):
                asked.next_offset = asked.limit
                self._publish(node, asked.need, 0, 0, b'')
            return False
        piece = data[offset : offset + CHUNK_BYTES]
        with self._lock:
            if asked.next_offset != offset:
                return True  # asked for from elsewhere meanwhile
            # All of it was sent: nothing more until it is asked for again.
            asked.next_offset = offset + len(piece) if piece else asked.limit
        if piece:
            self._publish(node, asked.need, offset, len(data), piece)
            self.sent_bytes += len(piece)
        return True

    def _data(self, need: Need) -> bytes | None:
        """Give a part as it travels, None if it is not there. No lock: packing takes its time."""
        if need not in self._packed:
            tensors = self._read(need.part)
            if tensors is None:
                return None
            if not need.whole and self._plan.is_layer(need.part):
                names = self._learned(need.part.layer)
                tensors = {name: tensors[name] for name in names}
            item, part = need.part.chapter + 1, need.part
            info = CheckpointInfo(self._node.run_id, self._config_hash, part.layer, item, 0)
            self._packed[need] = pack(info, tensors)
            with self._lock:
                asked = [each.need for each in self._asked.values()]
            for old in [each for each in self._packed if each not in asked][:-PACKED]:
                del self._packed[old]
        return self._packed[need]

    def _publish(self, node: int, need: Need, offset: int, total: int, piece: bytes) -> None:
        self._publishers[node].publish(
            msg.PartChunk(
                stamp=self._node.get_clock().now().to_msg(),
                run_id=messages.run_id_bytes(self._node.run_id),
                incarnation=self._node.incarnation,
                node=self._worker,
                chapter=need.part.chapter,
                layer=need.part.layer,
                whole=need.whole,
                offset=offset,
                total=total,
                data=array('B', piece),
            )
        )
