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
from dff_nodes.learning.layer import ForwardForwardLayer
from dff_nodes.nodes import messages, qos
from dff_nodes.nodes.layer_watch import STATE_NAMES
from dff_nodes.nodes.link import IncomingLink, OutgoingLink
from dff_nodes.nodes.participant import Participant, RunFailed, run_node
from dff_nodes.nodes.process import die_with_parent, prefer_throughput
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore
from dff_nodes.runs.config_file import ConfigError, differences, load_config
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.memory import peak_rss_mb, rss_mb
from dff_nodes.runs.metrics import MetricsAverage
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.layer_worker import Handled, LayerWorker
from dff_nodes.stream.codec import ItemDecoder, encode
from dff_nodes.stream.item import Item, Mark
from dff_nodes.stream.receiver import Receiver
from dff_nodes.stream.sender import Sender

PROTOCOL = msg.RunConfig.PROTOCOL_VERSION


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
        heartbeat_s = self.parameter(
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
        self.resolved: ResolvedRun | None = None
        warm_up()
        self.base_rss_mb = rss_mb()
        self.state = msg.LayerStatus.WAITING
        self.worker: LayerWorker | None = None
        self.incoming: IncomingLink | None = None
        self.outgoing: OutgoingLink | None = None
        self.scores: OutgoingLink | None = None
        self._weights_sha256 = ''
        self._parameter_bytes = 0
        self._saved_items: list[int] = []
        self._finished = False
        self._upstream: msg.LayerStatus | None = None
        self._upstream_heard_s = 0.0
        self._last_beat = (time.monotonic(), 0)
        self.waiting('the run configuration from the coordinator')
        self._status = self.create_publisher(msg.LayerStatus, 'status', qos.STATUS)
        self._metrics = self.create_publisher(msg.LayerMetrics, 'metrics', qos.METRICS)
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.RunConfig, 'config', self._on_config, qos.LATCHED)
        self.create_timer(heartbeat_s, self._beat)

    # ---- configuration -------------------------------------------------------------------

    def _on_config(self, message: msg.RunConfig) -> None:
        """Take part in the run, or end with it."""
        if message.protocol_version != PROTOCOL:
            self.reject('config', f'protocol {message.protocol_version}, {PROTOCOL} is known')
            return
        run_id = messages.run_id_text(message.run_id)
        wanted = self.resolved and self.identity.run_id or self.wanted_run_id
        if wanted and run_id != wanted:
            self.reject('config', f'run {message.run_name} ({run_id[:8]}) is not ours')
            return
        if message.phase != msg.RunConfig.RUNNING:
            self._on_end(message)
        elif self.resolved is None:
            try:
                self._join(message, run_id)
            except (ConfigError, ValueError, OSError) as error:
                self.fail(error)

    def _on_end(self, message: msg.RunConfig) -> None:
        if message.phase == msg.RunConfig.FINISHED:
            self._finished = True
        elif self.resolved is not None:
            self.fail(RunFailed(f'the coordinator ended the run: {message.reason}'))
        with self.changed:
            self.changed.notify_all()

    def _join(self, message: msg.RunConfig, run_id: str) -> None:
        resolved = ResolvedRun.from_json(message.config)
        if message.training:
            self._check_same(resolved)
        if self.index >= len(resolved.layers):
            raise ConfigError(
                f'parameter layer must be 0 to {len(resolved.layers) - 1} in run '
                f'{message.run_name}, got {self.index}'
            )
        folder = RunFolder(self.runs / message.run_name)
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self.incarnation = next_incarnation(folder.checkpoints, f'layer_{self.index}')
        self.identity = messages.Sender(run_id, self.incarnation)
        self.store = CheckpointStore(folder.checkpoints, self.index)
        self.run_config = message
        self.resolved = resolved
        self._make_links(message.first_item)
        self.waiting(None)
        self.start_worker(self._work)

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

    def _make_links(self, first_item: int) -> None:
        stream = self.resolved.config.stream
        replay = int(stream.replay_mb * 1e6)
        me = f'layer_{self.index}'
        receiver = Receiver(first_item, stream.window_items, self.incarnation)
        self.incoming = IncomingLink(
            self, self, self.identity, f'{me}/credit', receiver, f'{me}/input'
        )
        self.decoder = ItemDecoder(self.resolved, self.index)
        self.scores = OutgoingLink(
            self,
            self,
            self.identity,
            self.create_publisher(msg.Goodness, 'goodness', qos.bulk(stream.window_items)),
            f'{me}/goodness_credit',
            Sender(0, replay, stream.resend_s),
            lambda: f'coordinator on {self.run_config.host}',
        )
        if self.index + 1 < len(self.resolved.layers):
            behind = f'layer_{self.index + 1}'
            bulk = qos.bulk(stream.window_items)
            self.outgoing = OutgoingLink(
                self,
                self,
                self.identity,
                self.create_publisher(msg.Activations, f'{behind}/input', bulk),
                f'{behind}/credit',
                Sender(first_item, replay, stream.resend_s),
                lambda: behind,
            )
        self.create_subscription(
            msg.Activations, f'{me}/input', self._on_input, qos.bulk(stream.window_items)
        )

    def _on_input(self, message: msg.Activations) -> None:
        wire = messages.wire_item(message)
        self.incoming.offer(
            message, message.item, lambda: self.decoder.decode(wire), wire.payload_bytes
        )

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        self._build()
        config = self.resolved.config
        self._average = MetricsAverage(self.index, config.metrics.every_s, time.monotonic())
        self._began = time.monotonic()
        mark = Mark.NONE
        while mark != Mark.END_OF_RUN:
            item = self._next_item()
            mark = item.mark
            self._handle(item)
        self.state = msg.LayerStatus.DONE
        self._weights_sha256 = self.worker.layer.weights_sha256()
        self._beat()
        self._await_goodbye()

    def _build(self) -> None:
        config = self.resolved.config
        device = compute_device(config.compute.device)
        prepare_torch(config.compute.threads, device)
        layer = ForwardForwardLayer(self.resolved, self.index, device)
        first_item = self.run_config.first_item
        if self.run_config.resume:
            layer.load_state(
                self.store.load(first_item, self.identity.run_id, self.run_config.config_hash)
            )
        self._parameter_bytes = 4 * self.resolved.layers[self.index].parameters
        self.worker = LayerWorker(layer, first_item)
        self.state = msg.LayerStatus.TRAINING
        self._beat()

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
        handled = self.worker.handle(item)
        computing_s = time.monotonic() - began
        if handled.scores is not None:
            self._send_scores(item, handled)
        if self.outgoing is not None:
            wire = encode(handled.passed_on)
            self.outgoing.send(
                lambda _: messages.activations(wire, self.identity, self._now()),
                wire.payload_bytes,
            )
        self._measure(item, handled, computing_s)
        if item.checkpoint and self.run_config.training:
            self._save(item)

    def _send_scores(self, item: Item, handled: Handled) -> None:
        readout = self.resolved.candidates == 1 or item.batch.labels is not None
        measure = msg.Goodness.READOUT if readout else msg.Goodness.GOODNESS
        self.scores.send(
            lambda sequence: messages.goodness(
                self.index,
                sequence,
                item.number,
                handled.scores,
                measure,
                self.identity,
                self._now(),
            ),
            4 * handled.scores.numel(),
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
            self._metrics.publish(messages.metrics(row, name, self._now()))

    def _save(self, item: Item) -> None:
        info = CheckpointInfo(
            self.identity.run_id,
            self.run_config.config_hash,
            self.index,
            item.number + 1,
            self.incarnation,
        )
        self.store.save(info, self.worker.layer.state())
        self._saved_items = [*self._saved_items[-1:], info.next_item]
        self._beat()

    def _await_goodbye(self) -> None:
        """Stay until the coordinator has all scores and the final figures, and says so."""
        limit = time.monotonic() + self.resolved.config.stream.silence_s
        while not self._finished and time.monotonic() < limit:
            self.check()
            self.waiting('the coordinator to finish the run')
            with self.changed:
                self.changed.wait(0.2)

    # ---- heartbeat -----------------------------------------------------------------------

    def _now(self):  # noqa: ANN202 - builtin_interfaces Time
        return self.get_clock().now().to_msg()

    def _on_status(self, message: msg.LayerStatus) -> None:
        if message.layer != self.index - 1 or self.resolved is None:
            return
        if messages.run_id_text(message.run_id) == self.identity.run_id:
            self._upstream = message
            self._upstream_heard_s = time.monotonic()

    def _beat(self) -> None:
        """Publish the heartbeat, from the executor's thread also while a step computes."""
        now = time.monotonic()
        handled = self.worker.next_item if self.worker else 0
        since, before = self._last_beat
        self._last_beat = (now, handled)
        rate = (handled - before) / max(now - since, 1e-3) if before else 0.0
        self._status.publish(self._status_message(handled, rate))
        level = DiagnosticStatus.ERROR if self.error else DiagnosticStatus.OK
        if self.resolved is None and self.waited_s > self.appear_s:
            self.fail(RunFailed(self._explain_no_run()))
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
        run_id = self.identity.run_id if self.resolved else self.wanted_run_id or messages.NO_RUN
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
            checkpoints=array('Q', self._saved_items),
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
