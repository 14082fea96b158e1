# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node of one layer: `ros2 run dff_nodes layer_node --ros-args -p layer:=2`."""

from __future__ import annotations

import sys
import time
from array import array
from pathlib import Path
from typing import NoReturn

from dff_msgs import msg
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, IntegerRange

from dff_nodes.learning.compute import compute_device, prepare_torch, warm_up
from dff_nodes.learning.early_exit import make_early_exit
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.layer_watch import STATE_NAMES
from dff_nodes.nodes.link import IncomingLink, OutgoingLink, Rewound, Stopped
from dff_nodes.nodes.participant import (
    PAUSED,
    NoRun,
    Participant,
    Replaced,
    RunFailed,
    run_node,
)
from dff_nodes.nodes.process import die_with_parent, prefer_throughput
from dff_nodes.nodes.replication import ReplicaDownload, ReplicaUpload
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.checkpoint_saver import CheckpointSaver
from dff_nodes.runs.chunks import ChunkError
from dff_nodes.runs.config_file import ConfigError, differences, load_config
from dff_nodes.runs.fault_points import FaultPoint, arm, reach
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.memory import peak_rss_mb, rss_mb
from dff_nodes.runs.metrics import MetricsAverage
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.layer_worker import Handled, LayerWorker
from dff_nodes.stream.codec import ItemDecoder, encode
from dff_nodes.stream.item import Item, Mark
from dff_nodes.stream.receiver import Receiver

LISTEN_BEATS = 1.5
"""heartbeats within which another node of the same layer must be heard"""
SAVE_LATER = 1.25
"""times what the coordinator lets pass between two checkpoints: it is to be first"""


class LayerNode(Participant):
    """
    Owns one layer: takes items from the layer before, trains, passes them on.

    Knows its own layer, its input, its output and the coordinator, nothing else of the network.
    Its state after an item is a pure function of the run's configuration and the items so far.
    """

    def __init__(self, name: str = 'layer') -> None:
        super().__init__(name)
        self.index = self.parameter(
            'layer',
            0,
            'position of the layer in the network, 0 takes the images',
            integer_range=[IntegerRange(from_value=0, to_value=999, step=1)],
        )
        self.config_path = self.parameter(
            'config', '', "configuration file; empty: take the coordinator's"
        )
        self.runs = Path(self.parameter('runs', 'runs', 'folder that holds the run folders'))
        self.wanted_run_id = self.parameter(
            'run_id', '', '32 hexadecimal digits; empty: take part in any run of the namespace'
        )
        self.heartbeat_s = self.parameter(
            'heartbeat_s',
            1.0,
            'between two status messages, s',
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=60.0, step=0.0)],
        )
        self.appear_s = self.parameter(
            'appear_s',
            600.0,
            'without a run of the coordinator after which the node ends, s',
            floating_point_range=[FloatingPointRange(from_value=1.0, to_value=86400.0, step=0.0)],
        )
        self.incarnation = 0
        self._pending: msg.RunConfig | None = None
        self.resolved: ResolvedRun | None = None
        warm_up()
        self.base_rss_mb = rss_mb()
        self._built = False
        self.state = msg.LayerStatus.WAITING
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
        self._finished = False
        self._upstream: msg.LayerStatus | None = None
        self._upstream_heard_s = 0.0
        self._last_beat = (time.monotonic(), 0)
        self.waiting('the run configuration from the coordinator')
        self._status = self.create_publisher(msg.LayerStatus, 'status', qos.STATUS)
        self._metrics = self.create_publisher(msg.LayerMetrics, 'metrics', qos.METRICS)
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.RunConfig, 'config', self._on_config, qos.LATCHED)
        self.create_timer(self.heartbeat_s, self._beat)
        self._created_s = time.monotonic()

    # ---- configuration -------------------------------------------------------------------

    def _on_config(self, message: msg.RunConfig) -> None:
        """Take part in the run, or end with it."""
        if wrong := soundness.of_config(message):
            self.reject('config', wrong)
            return
        run_id = messages.run_id_text(message.run_id)
        wanted = self.run_id if self.resolved else self.wanted_run_id
        if wanted and run_id != wanted:
            self.reject('config', f'run {message.run_name} ({run_id[:8]}) is not ours')
            return
        if message.phase != msg.RunConfig.RUNNING:
            self._on_end(message)
        elif self.resolved is None and not self._must_listen_first(message):
            try:
                resolved = ResolvedRun.from_json(message.config)
            except (ValueError, RecursionError):
                self.reject('config', 'its configuration cannot be read')
                return
            try:
                self._join(message, run_id, resolved)
            except (ConfigError, OSError) as error:
                self.fail(error)

    def _must_listen_first(self, message: msg.RunConfig) -> bool:
        """
        Whether to wait for a heartbeat of another node of this layer before taking part.

        There may be one on another device, that took over while this one was away.
        """
        known = message.incarnations[self.index] if self.index < len(message.incarnations) else 0
        listened_s = time.monotonic() - self._created_s
        if not known or listened_s > LISTEN_BEATS * self.heartbeat_s:
            return False
        self._pending = message
        return True

    def _on_end(self, message: msg.RunConfig) -> None:
        if self.resolved is None and not self.wanted_run_id:
            return  # it may be anybody's
        if message.phase == msg.RunConfig.FAILED:
            self.fail(RunFailed(f'the coordinator ended the run: {message.reason}'))
        elif message.phase == msg.RunConfig.FINISHED and self.resolved is not None:
            self._finished = True
        else:
            self.stop(PAUSED)
        with self.changed:
            self.changed.notify_all()

    def _join(self, message: msg.RunConfig, run_id: str, resolved: ResolvedRun) -> None:
        if message.training:
            self._check_same(resolved)
        if self.index >= len(resolved.layers):
            raise ConfigError(
                f'parameter layer must be 0 to {len(resolved.layers) - 1} in run '
                f'{message.run_name}, got {self.index}'
            )
        folder = RunFolder(self.runs / message.run_name)
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.run_config = message
        self.run_id = run_id
        self.resolved = resolved
        store = CheckpointStore(folder.checkpoints, self.index)
        self.saver = CheckpointSaver(store, run_id, message.config_hash)
        self._raise_incarnation()
        arm(f'layer_{self.index}', self.incarnation)
        self._make_links()
        self.waiting(None)
        self.start_worker(self._work)

    def _raise_incarnation(self) -> None:
        """Be newer than whatever was this layer before."""
        told = self.run_config.incarnations
        known = told[self.index] if self.index < len(told) else 0
        self.incarnation = next_incarnation(
            self.folder.checkpoints,
            f'layer_{self.index}',
            max(known, self.incarnation, self.saver.newest_incarnation),
        )
        self.identity = messages.Sender(self.run_id, self.incarnation)

    def _check_same(self, resolved: ResolvedRun) -> None:
        """A device with another configuration file than the coordinator's must not take part."""
        if not self.config_path:
            return
        other = differences(load_config(self.config_path), resolved.config)
        if other:
            raise ConfigError(
                f'{self.config_path} on {self.host} is not the configuration of the coordinator: '
                f'{"; ".join(other)}. Copy the same file to every device'
            )

    def _make_links(self) -> None:
        stream, items = self.resolved.config.stream, self.run_config.items
        me = f'layer_{self.index}'
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
        prepare_torch(config.compute.threads, self._device)
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
                f'layer_{self.index}: a receiver came back without its newest checkpoint and '
                'wants older items; going back to an older checkpoint too'
            )
            self._raise_incarnation()

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
            self.get_logger().error(f'layer_{self.index}: {wrong}; an older one is used')
        if not self.saver.saved and self.download is not None:
            self._fetch_replicas()
        if not self.saver.saved:
            return LayerWorker(layer, 0)
        self._await_receivers()
        self.saver.forget(self._can_begin_at, self._is_settled)
        info = self.saver.newest(self._can_begin_at)
        if info is None:
            self.get_logger().warning(
                f'layer_{self.index}: no checkpoint is old enough for what its receivers want; '
                'training again from the first item'
            )
            return LayerWorker(layer, 0)
        _, tensors = self.saver.store.load(
            info.next_item, self.run_id, self.run_config.config_hash
        )
        layer.load_state(tensors)
        self.get_logger().info(f'layer_{self.index}: going on at item {info.next_item}')
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
            self.get_logger().error(f'layer_{self.index}: the replica is of no use: {error}')
            fetched = []
        self.waiting(None)
        if fetched:
            self.get_logger().info(f'layer_{self.index}: fetched the replicas of items {fetched}')
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

    def _check_silence(self) -> None:
        """The coordinator repeats its credit; a run without it for long has no future."""
        limit = self.resolved.config.stream.silence_s
        heard = self.scores.heard_s or self._began
        if time.monotonic() - heard > limit:
            raise RunFailed(
                f'layer_{self.index} has heard nothing from the coordinator on '
                f'{self.run_config.host} for {limit:.0f} s (stream.silence_s): is it still '
                'running, and is the network up?'
            )

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
                f'layer_{self.index}: cannot save: {error.strerror}; the run goes on from the '
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

    def _await_goodbye(self) -> None:
        """Stay until the coordinator has all scores and the final figures, and says so."""
        while not self._finished:
            self.check()
            self._check_silence()
            self.waiting('the coordinator to finish the run')
            with self.changed:
                self.changed.wait(0.2)

    # ---- heartbeat -----------------------------------------------------------------------

    def _now(self):  # noqa: ANN202 - builtin_interfaces Time
        return self.get_clock().now().to_msg()

    def _on_status(self, message: msg.LayerStatus) -> None:
        if self.resolved is None:
            self._note_twin(message)
            return
        if message.layer not in (self.index - 1, self.index):
            return
        if wrong := self._what_is_wrong(message):
            self.reject('status', wrong)
            return
        if message.layer == self.index - 1:
            self._upstream_heard_s = time.monotonic()
            if message.incarnation or self._upstream is None:
                self._upstream = message
        elif message.incarnation > self.incarnation:
            self.fail(
                Replaced(
                    f'{message.node} on {message.host} has taken over (incarnation '
                    f'{message.incarnation}, this one is {self.incarnation}): this node ends'
                )
            )

    def _note_twin(self, message: msg.LayerStatus) -> None:
        """A node of this layer that takes part in the run keeps it; this one ends."""
        wanted = self.wanted_run_id or (
            messages.run_id_text(self._pending.run_id) if self._pending else ''
        )
        ours = messages.run_id_text(message.run_id) == wanted
        working = message.state in (msg.LayerStatus.TRAINING, msg.LayerStatus.WAITING)
        if ours and message.layer == self.index and message.incarnation and working:
            self.fail(
                Replaced(
                    f'layer_{self.index} runs on {message.host} already (incarnation '
                    f'{message.incarnation}): end that one first if it shall run here'
                )
            )

    def _what_is_wrong(self, message: msg.LayerStatus) -> str | None:
        """Give why a heartbeat is not to be heeded."""
        run_id = messages.run_id_text(message.run_id)
        if run_id not in (self.run_id, messages.NO_RUN):
            return 'it belongs to another run'
        if wrong := soundness.of_status(message, len(self.resolved.layers)):
            return wrong
        if not message.incarnation:
            return None  # of a node that is back but has not joined yet; it replaces nobody
        if run_id == messages.NO_RUN:
            return 'it has an incarnation, but no run'
        own = message.layer == self.index
        known = self.incarnation if own else self._upstream.incarnation if self._upstream else 0
        return soundness.of_incarnation(message.incarnation, known)

    def _beat(self) -> None:
        """Publish the heartbeat, from the executor's thread also while a step computes."""
        now = time.monotonic()
        handled = self.worker.next_item if self.worker else 0
        if self._pending is not None and self.resolved is None:
            self._on_config(self._pending)
        since, before = self._last_beat
        self._last_beat = (now, handled)
        rate = (handled - before) / max(now - since, 1e-3) if before else 0.0
        self._status.publish(self._status_message(handled, rate))
        level = DiagnosticStatus.ERROR if self.error else DiagnosticStatus.OK
        if self.resolved is None and self.waited_s > self.appear_s:
            self.fail(NoRun(self._explain_no_run()))
        if self.waited_s > 10:
            level = DiagnosticStatus.WARN
            self.get_logger().info(
                f'layer_{self.index}: waiting for {self.waiting_for}', throttle_duration_sec=10.0
            )
        self.diagnose(
            level,
            str(self.error or self.awaited or STATE_NAMES[self._current_state()]),
            {'item': handled, 'items_per_second': f'{rate:.1f}', 'rss_mb': f'{rss_mb():.0f}'},
        )

    def _explain_no_run(self) -> str:
        return (
            f'layer_{self.index}: no coordinator announced a run in the namespace '
            f'{self.get_namespace()} within {self.appear_s:.0f} s (stream.appear_s): is it '
            'started, in the same namespace and with the same ROS_DOMAIN_ID, and does multicast '
            'reach it? `dff doctor` tells'
        )

    def _current_state(self) -> int:
        if self.error is not None:
            return msg.LayerStatus.ERROR
        if self.state == msg.LayerStatus.TRAINING and self.awaited:
            return msg.LayerStatus.WAITING
        return self.state

    def _status_message(self, handled: int, rate: float) -> msg.LayerStatus:
        run_id = self.run_id if self.resolved else self.wanted_run_id or messages.NO_RUN
        message = msg.LayerStatus(
            stamp=self._now(),
            run_id=messages.run_id_bytes(run_id),
            incarnation=self.incarnation,
            layer=self.index,
            node=self.get_fully_qualified_name(),
            host=self.host,
            state=self._current_state(),
            waiting_for=self.awaited,
            error=str(self.error or ''),
            item=handled,
            items_per_second=rate,
            rejected_messages=sum(self.rejected.values()),
            rss_mb=rss_mb(),
            peak_rss_mb=peak_rss_mb(),
            base_rss_mb=self.base_rss_mb,
            parameter_bytes=self._parameter_bytes,
            weights_sha256=self._weights_sha256,
            applied_sha256=self._applied_sha256,
            checkpoints=array('Q', self.saver.items if self.saver else []),
        )
        if self.incoming is not None:
            message.input_queue = self.incoming.queued
            message.received_bytes = self.incoming.received_bytes
            message.goodness_bytes = self.scores.sent_bytes
            message.resent_items = self.scores.resent
        if self.outgoing is not None:
            message.sent_bytes = self.outgoing.sent_bytes
            message.resent_items += self.outgoing.resent
        return message

    def at_end(self) -> None:
        """Tell the coordinator about an error before leaving."""
        if self.error is not None:
            self.get_logger().error(str(self.error))
        # For a layer that was replaced another one speaks: its error must not end the run.
        if self.error is not None and not isinstance(self.error, (NoRun, Replaced)):
            self._beat()
            time.sleep(0.2)  # the middleware sends in the background


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a layer node until its run ends."""
    die_with_parent()
    prefer_throughput()
    name = _node_name(sys.argv if arguments is None else arguments)
    run_node(lambda: LayerNode(name), arguments)


def _node_name(arguments: list[str]) -> str:
    """
    Name the node after its layer, so that two started by hand do not share a name.

    A node's name must be known before its parameters can be read.
    """
    for argument in arguments:
        key, _, value = argument.partition(':=')
        if key == 'layer' and value.isdigit():
            return f'layer_{value}'
    return 'layer'


if __name__ == '__main__':
    main()
