# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node of one layer: `ros2 run dff_nodes layer_node --ros-args -p layer:=2`."""

from __future__ import annotations

import sys
import time
from array import array
from typing import NoReturn

from dff_msgs import msg

from dff_nodes.learning.compute import compute_device, prepare_torch
from dff_nodes.learning.early_exit import make_early_exit
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.nodes import messages, qos
from dff_nodes.nodes.link import IncomingLink, OutgoingLink, Rewound, Stopped
from dff_nodes.nodes.participant import run_node
from dff_nodes.nodes.process import die_with_parent, prefer_throughput
from dff_nodes.nodes.replication import ReplicaDownload, ReplicaUpload
from dff_nodes.nodes.run_member import RunMember, node_name
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.checkpoint_saver import CheckpointSaver
from dff_nodes.runs.chunks import ChunkError
from dff_nodes.runs.fault_points import FaultPoint, reach
from dff_nodes.runs.memory import rss_mb
from dff_nodes.runs.metrics import MetricsAverage
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.layer_worker import Handled, LayerWorker
from dff_nodes.stream.codec import ItemDecoder, encode
from dff_nodes.stream.item import Item, Mark
from dff_nodes.stream.receiver import Receiver

SAVE_LATER = 1.25
"""times what the coordinator lets pass between two checkpoints: it is to be first"""


class LayerNode(RunMember):
    """
    Owns one layer: takes items from the layer before, trains, passes them on.

    Knows its own layer, its input, its output and the coordinator, nothing else of the network.
    Its state after an item is a pure function of the run's configuration and the items so far.
    """

    def __init__(self, name: str = 'layer') -> None:
        super().__init__(name, 'layer', 'position of the layer in the network, 0 takes the images')
        self._built = False
        self.worker: LayerWorker | None = None
        self.saver: CheckpointSaver | None = None
        self.incoming: IncomingLink | None = None
        self.outgoing: OutgoingLink | None = None
        self.scores: OutgoingLink | None = None
        self.upload: ReplicaUpload | None = None
        self.download: ReplicaDownload | None = None
        self._weights_sha256 = ''
        self._parameter_bytes = 0
        self._applied_sha256 = ''
        self._upstream: msg.LayerStatus | None = None
        self._upstream_heard_s = 0.0

    # ---- its place in the run ------------------------------------------------------------

    def _members(self, resolved: ResolvedRun) -> int:
        return len(resolved.layers)

    def _saved_incarnation(self) -> int:
        store = CheckpointStore(self.folder.checkpoints, self.index)
        self.saver = CheckpointSaver(store, self.run_id, self.run_config.config_hash)
        return self.saver.newest_incarnation

    def _enter(self) -> None:
        self._make_links()
        self.waiting(None)
        self.start_worker(self._work)

    def _make_links(self) -> None:
        stream, items = self.resolved.config.stream, self.run_config.items
        me = self.me
        self.decoder = ItemDecoder(self.resolved, self.index)
        self.incoming = IncomingLink(
            self, self, self.run_id, f'{me}/credit', f'{me}/input', self._durable
        )
        self.scores = OutgoingLink(
            self,
            self,
            self.run_id,
            self.create_publisher(msg.Goodness, 'goodness', qos.bulk(stream.window_items)),
            f'{me}/goodness_credit',
            items,
            lambda: f'coordinator on {self.run_config.host}',
        )
        if self.index + 1 < len(self.resolved.layers):
            behind = f'layer_{self.index + 1}'
            bulk = qos.bulk(stream.window_items)
            self.outgoing = OutgoingLink(
                self,
                self,
                self.run_id,
                self.create_publisher(msg.Activations, f'{behind}/input', bulk),
                f'{behind}/credit',
                items,
                lambda: behind,
            )
        if self.resolved.config.checkpoint.replicate and self.run_config.training:
            self.upload = ReplicaUpload(self, self.saver.store, self.incoming.give_credit)
            self.download = ReplicaDownload(self, self.saver.store)
        self.create_subscription(
            msg.Activations, f'{me}/input', self._on_input, qos.bulk(stream.window_items)
        )

    def _durable(self) -> int | None:
        """Item before which nothing will be asked for again; all in an evaluation."""
        if not self.run_config.training:
            return None
        # Receivers that got on since the last checkpoint allow to promise more.
        self.saver.promise(self._can_begin_at)
        replicated = self.upload.durable if self.upload else self.saver.durable
        return min(self.saver.durable, replicated)

    def _on_input(self, message: msg.Activations) -> None:
        wire = messages.wire_item(message)
        self.incoming.offer(
            message, message.item, lambda: self.decoder.decode(wire), wire.payload_bytes
        )

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        config = self.resolved.config
        self._device = compute_device(config.compute.device)
        widest = self.resolved.buffer_bytes(self.resolved.layers[self.index])
        prepare_torch(config.compute.threads, self._device, widest)
        self._parameter_bytes = 4 * self.resolved.layers[self.index].parameters
        self._average = MetricsAverage(self.index, config.metrics.every_s, time.monotonic())
        self._began = time.monotonic()
        try:
            while not self._finished:
                self._work_until_rewound()
        except Stopped:
            self._save_on_the_way_out()
            raise

    def _work_until_rewound(self) -> None:
        """Train to the end of the run, or until a receiver wants what must be made again."""
        try:
            self._restore()
            while self.worker.next_item < self.run_config.items:
                self._handle(self._next_item())
            self._tell_final_figures()
            self._await_goodbye()
        except Rewound:
            self.get_logger().warning(
                f'{self.me}: a receiver came back without its newest checkpoint and '
                'wants older items; going back to an older checkpoint too'
            )
            self._raise_incarnation(self.saver.newest_incarnation)

    def check(self) -> None:
        """Raise Stopped if the node shall end, Rewound if it shall go back."""
        super().check()
        if any(link is not None and link.rewound for link in (self.scores, self.outgoing)):
            raise Rewound

    # ---- where to begin ------------------------------------------------------------------

    def _restore(self) -> None:
        """Take up the newest state from which all that receivers still want can be made."""
        self.state = msg.LayerStatus.TRAINING
        self.worker = None  # frees the old state before the new one is made
        if not self._built:
            # The process itself is PyTorch, rclpy and the endpoints: all of it is there now.
            self._built, self.base_rss_mb = True, rss_mb()
        layer = make_layer(self.resolved, self.index, self._device)
        if self.run_config.training:
            self.worker = self._restored(layer)
        else:
            first_item = self.run_config.first_item
            _, tensors = self.saver.store.load(
                first_item, self.run_id, self.run_config.config_hash
            )
            layer.load_state(tensors)
            early_exit = make_early_exit(self.resolved, self.index)
            self.worker = LayerWorker(layer, first_item, early_exit=early_exit)
        reach(FaultPoint.IN_RESTORE)
        stream, first_item = self.resolved.config.stream, self.worker.next_item
        replay = self.resolved.replay_bytes
        self.saver.go_back_to(first_item)
        if self.outgoing is not None:
            self.outgoing.begin(first_item, replay, stream.resend_s)
        self.scores.begin(self.worker.scored, replay, stream.resend_s)
        self._taken_at_save = self.incoming.taken_bytes
        self.incoming.begin(Receiver(first_item, stream.window_items, self.incarnation))
        self._beat()

    def _restored(self, layer: Layer) -> LayerWorker:
        for wrong in self.saver.look():
            self.get_logger().error(f'{self.me}: {wrong}; an older one is used')
        if not self.saver.saved and self.download is not None:
            self._fetch_replicas()
        if not self.saver.saved:
            return LayerWorker(layer, 0)
        self._await_receivers()
        self.saver.forget(self._can_begin_at, self._is_settled)
        info = self.saver.newest(self._can_begin_at)
        if info is None:
            self.get_logger().warning(
                f'{self.me}: no checkpoint is old enough for what its receivers want; '
                'training again from the first item'
            )
            return LayerWorker(layer, 0)
        _, tensors = self.saver.store.load(
            info.next_item, self.run_id, self.run_config.config_hash
        )
        layer.load_state(tensors)
        self.get_logger().info(f'{self.me}: going on at item {info.next_item}')
        return LayerWorker(layer, info.next_item, info.scored, info.applied)

    def _fetch_replicas(self) -> None:
        """Take what the coordinator has, as there is no checkpoint here."""

        def meanwhile() -> None:
            super(LayerNode, self).check()
            self.waiting(f'the replica from the coordinator on {self.run_config.host}')
            with self.changed:
                self.changed.wait(0.1)
            self._check_silence()

        try:
            fetched = self.download.fetch(meanwhile)
        except ChunkError as error:
            self.get_logger().error(f'{self.me}: the replica is of no use: {error}')
            fetched = []
        self.waiting(None)
        if fetched:
            self.get_logger().info(f'{self.me}: fetched the replicas of items {fetched}')
        self.saver.look()

    def _can_begin_at(self, info: CheckpointInfo) -> bool:
        """Whether all that receivers still want can be made from a checkpoint."""
        behind = self.outgoing is None or info.next_item <= self.outgoing.wanted
        return behind and info.scored <= self.scores.wanted

    def _is_settled(self, info: CheckpointInfo) -> bool:
        """Whether the coordinator has written down all that was scored until a checkpoint."""
        credit = self.scores.credit
        return credit is not None and info.scored <= credit.durable

    def _await_receivers(self) -> None:
        """What the receivers want decides how far to go back."""
        links = [link for link in (self.scores, self.outgoing) if link is not None]
        while silent := [link for link in links if link.credit is None]:
            super().check()
            self.waiting(f'what {silent[0].describe()} wants')
            with self.changed:
                self.changed.wait(0.5)
            self._check_silence()
        self.waiting(None)

    def _next_item(self) -> Item:
        """Wait for the next item, in slices and saying so."""
        while True:
            self.check()
            item = self.incoming.take()
            if item is not None:
                self.waiting(None)
                return item
            self.waiting(f'items from {self._describe_upstream()}')
            with self.changed:
                if self.incoming.queued == 0:
                    self.changed.wait(0.5)
            self._check_silence()

    def _describe_upstream(self) -> str:
        if self.index == 0:
            heard, who = self.scores.heard_s, f'coordinator on {self.run_config.host}'
        else:
            heard, who = self._upstream_heard_s or None, f'layer_{self.index - 1}'
            who += f' on {self._upstream.host}' if self._upstream else ''
        if heard is None:
            return f'{who}, not heard yet'
        return f'{who}, last heard {time.monotonic() - heard:.0f} s ago'

    def _coordinator_heard(self) -> float:
        # It repeats its credit more often than the run's configuration.
        return self.scores.heard_s or self._began

    def _handle(self, item: Item) -> None:
        began = time.monotonic()
        reach(FaultPoint.BEFORE_TRAIN)
        handled = self.worker.handle(item)
        reach(FaultPoint.AFTER_TRAIN)
        computing_s = time.monotonic() - began
        if handled.scores is not None:
            self._send_scores(item, handled)
            reach(FaultPoint.AFTER_SCORES)
        if self.outgoing is not None:
            wire = encode(handled.passed_on)
            self.outgoing.send(
                lambda _: messages.activations(wire, self.identity, self._now()),
                wire.payload_bytes,
            )
        reach(FaultPoint.AFTER_PUBLISH)
        self._measure(item, handled, computing_s)
        if self.run_config.training:
            self._save_if_due(item)

    def _send_scores(self, item: Item, handled: Handled) -> None:
        readout = self.resolved.candidates == 1 or item.batch.labels is not None
        measure = msg.Goodness.READOUT if readout else msg.Goodness.GOODNESS
        self.scores.send(
            lambda sequence: messages.goodness(
                self.index,
                sequence,
                item.number,
                handled.scores,
                handled.rows,
                measure,
                self.identity,
                self._now(),
            ),
            4 * handled.scores.numel() + 4 * (0 if handled.rows is None else len(handled.rows)),
        )

    def _measure(self, item: Item, handled: Handled, computing_s: float) -> None:
        samples = item.batch.samples if item.batch else 0
        self._average.add(handled.figures, samples, computing_s)
        now = time.monotonic()
        if not self._average.due(now) and item.mark == Mark.NONE:
            return
        row = self._average.take(
            now, now - self._began, item.number, item.epoch, self.incoming.queued
        )
        if row:
            name = self.get_fully_qualified_name()
            self._metrics.publish(messages.metrics(row, name, self.identity, self._now()))

    # ---- checkpoints ---------------------------------------------------------------------

    def _save_if_due(self, item: Item) -> None:
        """Save where the stream says so, or before the sender runs out of room for replay."""
        kept = self.incoming.taken_bytes - self._taken_at_save
        filling = kept > SAVE_LATER * self.resolved.save_after_bytes
        if item.checkpoint or filling or self._take_saving_error():
            self._taken_at_save = self.incoming.taken_bytes
            self._save()

    def _save(self) -> None:
        """Begin a checkpoint, behind the one before; without room, wait until there is some."""
        while True:
            self.check()
            try:
                self.saver.wait(self._wait_for_saving)
                self.saver.save(self._info(), self.worker.layer.state(), self._on_saved)
                self.waiting(None)
                return
            except OSError as error:
                self.await_room(error)

    def _wait_for_saving(self) -> None:
        self.check()
        self.waiting('its checkpoint to be written')

    def _take_saving_error(self) -> bool:
        """Whether the last checkpoint could not be written, so that another one is due."""
        error = self.saver.take_error()
        if error is not None:
            self.await_room(error)
        return error is not None

    def _on_saved(self) -> None:
        """Forget the checkpoints that no fault can ask for; in the saving thread."""
        with self.changed:
            self.saver.forget(self._can_begin_at, self._is_settled)
            self.changed.notify_all()
        if self.upload is not None:
            self.upload.upload(self.saver.saved[-1])
        self.incoming.give_credit()

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            self.run_id,
            self.run_config.config_hash,
            self.index,
            self.worker.next_item,
            self.incarnation,
            self.worker.scored,
            self.worker.applied,
        )

    def _save_on_the_way_out(self) -> None:
        """Save where training stopped, so that it can go on there."""
        if self.worker is None or not self.run_config.training or self.error is not None:
            return
        try:
            self.saver.wait(lambda: None)
            if self.worker.next_item not in self.saver.items:
                self.saver.store.begin(self._info(), self.worker.layer.state()).finish()
        except OSError as error:
            self.get_logger().error(
                f'{self.me}: cannot save: {error.strerror}; the run goes on from the '
                'checkpoint before'
            )

    # ---- the end -------------------------------------------------------------------------

    def _tell_final_figures(self) -> None:
        """The run may end as soon as this layer is known to be done, so its weights are safe."""
        self.saver.wait(self._wait_for_saving)
        while self._take_saving_error():
            self._save()
            self.saver.wait(self._wait_for_saving)
        self.waiting(None)
        self._weights_sha256 = self.worker.layer.weights_sha256()
        self._applied_sha256 = self.worker.applied
        self.state = msg.LayerStatus.DONE
        self._beat()

    # ---- heartbeat -----------------------------------------------------------------------

    @property
    def handled(self) -> int:
        """Next item."""
        return self.worker.next_item if self.worker else 0

    def _on_other_status(self, message: msg.LayerStatus) -> None:
        if message.layer != self.index - 1:
            return
        known = self._upstream.incarnation if self._upstream else 0
        if wrong := self._wrong_with_status(message, known):
            self.reject('status', wrong)
            return
        self._upstream_heard_s = time.monotonic()
        if message.incarnation or self._upstream is None:
            self._upstream = message

    def _fill_status(self, message: msg.LayerStatus) -> None:
        message.parameter_bytes = self._parameter_bytes
        message.own_accuracy = -1.0
        message.weights_sha256 = self._weights_sha256
        message.applied_sha256 = self._applied_sha256
        message.checkpoints = array('Q', self.saver.items if self.saver else [])
        if self.incoming is not None:
            message.input_queue = self.incoming.queued
            message.received_bytes = self.incoming.received_bytes
            message.goodness_bytes = self.scores.sent_bytes
            message.resent_items = self.scores.resent
        if self.outgoing is not None:
            message.sent_bytes = self.outgoing.sent_bytes
            message.resent_items += self.outgoing.resent


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a layer node until its run ends."""
    die_with_parent()
    prefer_throughput()
    name = node_name('layer', sys.argv if arguments is None else arguments)
    run_node(lambda: LayerNode(name), arguments)


if __name__ == '__main__':
    main()
