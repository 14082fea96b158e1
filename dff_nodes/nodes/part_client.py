# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How a node gets the parts that others make: asked for, in chunks, under its own credit."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dff_msgs import msg

from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.link import Stopped
from dff_nodes.nodes.part_exchange import ASK_S, Tensors, inbox, largest_part, makers, requests
from dff_nodes.nodes.participant import RunFailed
from dff_nodes.runs.checkpoint import DIGEST_BYTES, CheckpointError, CheckpointInfo, unpack
from dff_nodes.runs.segment import CHUNK_BYTES
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part

WINDOW = 16
"""chunks on their way to one node"""
GAPS = 4
"""times between two chunks after which the next one counts as lost"""
LONGEST_PATIENCE_S = 30.0


@dataclass
class _Arriving:
    """A part on its way to this node."""

    need: Need
    maker: int
    data: bytearray
    total: int | None = None
    gone: bool = False
    """its maker has it no more"""
    asked_s: float = 0.0
    moved_s: float = 0.0
    gap_s: float = 0.0
    """between two chunks"""
    patience_s: float = 0.0
    """without a chunk after which it is asked for again; doubles each time"""


class PartClient:
    """
    Asks workers for parts, one after the other, on a thread of its own.

    :param node: a Participant with `run_id` and `identity`.
    :param own: number of this worker, or COORDINATOR.
    :param done: gives what this node has finished, see PartRequest.
    """

    def __init__(
        self,
        node: Any,
        plan: ChapterPlan,
        own: int,
        config_hash: str,
        done: Callable[[], int],
    ) -> None:
        self._node = node
        self._plan = plan
        self._own = own
        self._config_hash = config_hash
        self._done = done
        self._resend_s = plan.resolved.config.stream.resend_s
        self.received_bytes = 0
        self.asked_again = 0
        self._arriving: _Arriving | None = None
        self._senders = dict.fromkeys(makers(plan), 0)
        """highest incarnation known of each maker"""
        self._futures: dict[Need, Future] = {}
        self._thread = ThreadPoolExecutor(1, 'parts')
        self._asking = {
            worker: node.create_publisher(msg.PartRequest, requests(worker), qos.PART_REQUESTS)
            for worker in makers(plan)
            if worker != own
        }
        node.create_subscription(msg.PartChunk, inbox(own), self._on_chunk, qos.PART_CHUNKS)

    def want(self, need: Need) -> None:
        """Have a part fetched, behind those that were wanted before."""
        if need not in self._futures:
            self._futures[need] = self._thread.submit(self._fetch, need)
            self._futures[need].add_done_callback(self._notify)

    def _notify(self, future: Future) -> None:
        """Wake whoever waits: no part is later than it must be."""
        with self._node.changed:
            self._node.changed.notify_all()

    def take(self, need: Need, meanwhile: Callable[[], None]) -> Tensors:
        """
        Give a part, waiting for it.

        :param meanwhile: is called again and again; what it raises ends the wait.
        """
        self.want(need)
        future = self._futures[need]
        while not future.done():
            meanwhile()
            with self._node.changed:
                if not future.done():
                    self._node.changed.wait(ASK_S)
        del self._futures[need]
        return future.result()

    def has(self, need: Need) -> bool:
        """Whether a part that was wanted need not be waited for."""
        return need in self._futures and self._futures[need].done()

    def keep_only(self, needs: list[Need]) -> None:
        """Forget what was fetched and is not needed after all."""
        for need in list(self._futures):
            if need not in needs and self._futures[need].done():
                del self._futures[need]

    def tell(self) -> None:
        """Tell all workers what is done here, where nothing is asked for any more."""
        for worker in self._asking:
            self._publish(worker, self._plan.final[0], True, 0, 0, again=False)

    # ---- fetching, on the thread -----------------------------------------------------------

    def _fetch(self, need: Need) -> Tensors:
        maker = self._plan.maker(need.part)
        arriving = _Arriving(need, maker, bytearray(), patience_s=self._resend_s)
        with self._node.changed:
            self._arriving = arriving
        try:
            while True:
                self._await(arriving)
                try:
                    return self._unpacked(arriving)
                except CheckpointError as error:
                    self._node.get_logger().warning(f'{error}; it is asked for again')
                    with self._node.changed:
                        arriving.data, arriving.total = bytearray(), None
                        arriving.asked_s = time.monotonic()
        finally:
            with self._node.changed:
                self._arriving = None

    def _await(self, arriving: _Arriving) -> None:
        """Ask until the whole part is there."""
        while True:
            with self._node.changed:
                if self._node.ended():
                    raise Stopped('the node ends')
                if arriving.gone:
                    raise RunFailed(self._explain_gone(arriving))
                if arriving.total == len(arriving.data) and arriving.data:
                    return
            self._ask_if_due(arriving)
            with self._node.changed:
                if arriving.total != len(arriving.data) or not arriving.data:
                    self._node.changed.wait(ASK_S)

    def _ask_if_due(self, arriving: _Arriving) -> None:
        now = time.monotonic()
        late = now - max(arriving.asked_s, arriving.moved_s) >= arriving.patience_s
        if arriving.asked_s and not late:
            return
        again = bool(arriving.asked_s)
        if again and arriving.data:
            self.asked_again += 1
        if again:
            arriving.patience_s = min(2 * arriving.patience_s, LONGEST_PATIENCE_S)
        self._ask(arriving, again)

    def _explain_gone(self, arriving: _Arriving) -> str:
        part = arriving.need.part
        return (
            f'{self._node.get_name()} on {self._node.host} needs layer_{part.layer} of chapter '
            f'{part.chapter + 1}, which worker_{arriving.maker} has no more, as all that need it '
            'had said they were past it: a run folder was lost or damaged. Start each worker '
            'where its run folder is, or train anew under another name'
        )

    def _ask(self, arriving: _Arriving, again: bool) -> None:
        arriving.asked_s = time.monotonic()
        need = arriving.need
        self._publish(
            arriving.maker, need.part, need.whole, len(arriving.data), WINDOW, again=again
        )

    def _publish(
        self, worker: int, part: Part, whole: bool, offset: int, window: int, *, again: bool
    ) -> None:
        self._asking[worker].publish(
            msg.PartRequest(
                stamp=self._node.get_clock().now().to_msg(),
                run_id=messages.run_id_bytes(self._node.run_id),
                incarnation=self._node.incarnation,
                node=self._own,
                chapter=part.chapter,
                layer=part.layer,
                whole=whole,
                offset=offset,
                window=window,
                again=again,
                done=self._done(),
            )
        )

    def _unpacked(self, arriving: _Arriving) -> Tensors:
        data, need = bytes(arriving.data), arriving.need
        source = f'layer {need.part.layer} of chapter {need.part.chapter}'
        info, tensors = unpack(data[:DIGEST_BYTES], data[DIGEST_BYTES:], source)
        wanted = CheckpointInfo(
            self._node.run_id, self._config_hash, need.part.layer, need.part.chapter + 1, 0
        )
        if info != wanted:
            raise CheckpointError(f'{source} belongs to something else: {info}')
        return tensors

    # ---- chunks, on the executor's thread --------------------------------------------------

    def _on_chunk(self, message: msg.PartChunk) -> None:
        topic = inbox(self._own)
        with self._node.changed:
            arriving = self._arriving
            wrong = self._what_is_wrong(message, arriving)
            if wrong is None and not self._is_wanted(message, arriving):
                return  # of what has come by now
            if wrong is None:
                self._add(message, arriving)
        if wrong is not None:
            self._node.reject(topic, wrong)

    def _is_wanted(self, message: msg.PartChunk, arriving: _Arriving | None) -> bool:
        if arriving is None:
            return False
        key = Part(message.chapter, message.layer), message.whole
        return key == (arriving.need.part, arriving.need.whole)

    def _what_is_wrong(self, message: msg.PartChunk, arriving: _Arriving | None) -> str | None:
        if messages.run_id_text(message.run_id) != self._node.run_id:
            return 'it belongs to another run'
        if message.node not in self._senders:
            return f'there is no worker {message.node}'
        part = Part(message.chapter, message.layer)
        if not self._plan.exists(part):
            return f'there is no layer {part.layer} of chapter {part.chapter}'
        if message.node != self._plan.maker(part):
            return f'worker {message.node} does not make it'
        if not message.incarnation:
            return 'it has no incarnation'
        known = self._senders[message.node]
        if wrong := soundness.of_incarnation(message.incarnation, known):
            return wrong
        return self._wrong_with_data(message, Need(part, message.whole), arriving)

    def _wrong_with_data(
        self, message: msg.PartChunk, need: Need, arriving: _Arriving | None
    ) -> str | None:
        largest = largest_part(self._plan, need)
        size = len(message.data)
        if message.total == message.offset == size == 0:
            return None  # the sender has it no more
        if not DIGEST_BYTES < message.total <= largest:
            return f'total is {message.total}, at most {largest} is right'
        if not 1 <= size <= CHUNK_BYTES or message.offset + size > message.total:
            return f'data of {size} bytes at {message.offset} do not fit {message.total}'
        wanted = self._is_wanted(message, arriving)
        if wanted and arriving.total not in (None, message.total):
            return f'total is {message.total}, {arriving.total} was told before'
        return None

    def _add(self, message: msg.PartChunk, arriving: _Arriving) -> None:
        self._senders[message.node] = message.incarnation
        if message.total == 0:
            arriving.gone = True
            self._node.changed.notify_all()
            return
        have = len(arriving.data)
        if message.offset > have:
            # Something was lost: one request is enough for all that comes behind it.
            if time.monotonic() - arriving.asked_s > ASK_S:
                self.asked_again += 1
                self._ask(arriving, again=True)
            return
        if message.offset < have:
            return
        arriving.total = message.total
        arriving.data += memoryview(message.data).cast('B')
        now = time.monotonic()
        if arriving.moved_s:
            arriving.gap_s = max(now - arriving.moved_s, 0.7 * arriving.gap_s)
        arriving.moved_s = now
        # On a slow link the next chunk is not lost because it takes as long as the last one.
        arriving.patience_s = max(self._resend_s, GAPS * arriving.gap_s)
        self.received_bytes += len(message.data)
        received = len(arriving.data)
        if received == arriving.total:
            self._node.changed.notify_all()
        elif received // CHUNK_BYTES % (WINDOW // 2) == 0:
            self._ask(arriving, again=False)
