# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How a node takes part in the coordinator's run, and how it leaves."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

from dff_msgs import msg
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, IntegerRange

from dff_nodes.learning.compute import precision_here, warm_up
from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.layer_watch import ALIVE_BEATS, STATE_NAMES
from dff_nodes.nodes.participant import PAUSED, NoRun, Participant, Replaced, RunFailed
from dff_nodes.runs.config_file import differences, load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.fault_points import arm
from dff_nodes.runs.incarnation import next_incarnation
from dff_nodes.runs.memory import peak_rss_mb, rss_mb
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.run_folder import RunFolder

LAST_WORD_S = 3.0
"""for which a node that fails stays until it is heard"""
LISTEN_BEATS = 1.5
"""heartbeats, since the run is known, in which another node of the same place must be heard"""


class RunMember(Participant):
    """
    Waits for the coordinator's run, takes the place in it that its number says, and tells of it.

    :param name: of the node until it is remapped.
    :param kind: 'layer' or 'worker': names the parameter with its number, and it in messages.
    """

    def __init__(self, name: str, kind: str, description: str) -> None:
        super().__init__(name)
        self.kind = kind
        self.index = self.parameter(
            kind,
            0,
            description,
            integer_range=[IntegerRange(from_value=0, to_value=999, step=1)],
        )
        self.me = f'{kind}_{self.index}'
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
        self._pending_s = 0.0
        self._place_lives = False
        self._twin: msg.LayerStatus | None = None
        self._twin_heard_s = 0.0
        self.resolved: ResolvedRun | None = None
        warm_up()
        self.base_rss_mb = rss_mb()
        self._precision = ''
        self.state = msg.LayerStatus.WAITING
        self._finished = False
        self._coordinator_heard_s = time.monotonic()
        self._last_beat = (time.monotonic(), 0)
        self.waiting('the run configuration from the coordinator')
        self._status = self.create_publisher(msg.LayerStatus, 'status', qos.STATUS)
        self._metrics = self.create_publisher(msg.LayerMetrics, 'metrics', qos.METRICS)
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.RunConfig, 'config', self._on_config, qos.LATCHED)
        self.create_timer(self.heartbeat_s, self._beat)

    # ---- what each kind of node adds -------------------------------------------------------

    @abstractmethod
    def _members(self, resolved: ResolvedRun) -> int:
        """Count the nodes of this kind that a run has; raises ConfigError if it has none."""

    @abstractmethod
    def _saved_incarnation(self) -> int:
        """Open this node's checkpoints, and give the highest incarnation among them."""

    @abstractmethod
    def _enter(self) -> None:
        """Make the endpoints, and start the worker thread: the run is known now."""

    @property
    @abstractmethod
    def handled(self) -> int:
        """What the heartbeat gives as `item`."""

    @abstractmethod
    def _fill_status(self, message: msg.LayerStatus) -> None:
        """Add this node's own figures to its heartbeat."""

    def _on_other_status(self, message: msg.LayerStatus) -> None:
        """Heed the heartbeat of another place of this run."""

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
        self._coordinator_heard_s = time.monotonic()
        if message.phase != msg.RunConfig.RUNNING:
            self._on_end(message)
        elif self.resolved is None and not self.error and not self._must_listen_first(message):
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
        Whether to wait for a heartbeat of another node of this place before taking part.

        There may be one on another device, that took over while this one was away. Counted from
        when the run is known: on a busy machine both are discovered late. If the coordinator
        hears a node of this place, this one listens until it hears it too, or neither does.
        """
        known = message.incarnations[self.index] if self.index < len(message.incarnations) else 0
        if not known:
            return False
        now = time.monotonic()
        if self._pending is None:
            self._pending_s = now
        if self._pending is not message:
            # Between two of the coordinator's messages nothing is known of what it hears.
            silent_s = message.silent_s[self.index] if self.index < len(message.silent_s) else -1.0
            self._place_lives = 0.0 <= silent_s <= ALIVE_BEATS * self.heartbeat_s
        self._pending = message
        self._end_if_taken()
        if self._place_lives:
            self.waiting(f'{self._explain_place_taken()} to be heard here, or to end')
        return self._place_lives or self._still_listening(self._pending_s)

    def _still_listening(self, began_s: float) -> bool:
        return time.monotonic() - began_s <= LISTEN_BEATS * self.heartbeat_s

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
        members = self._members(resolved)
        if self.index >= members:
            raise ConfigError(
                f'parameter {self.kind} must be 0 to {members - 1} in run {message.run_name}, '
                f'got {self.index}'
            )
        self.folder = RunFolder(self.runs / message.run_name)
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self.run_config = message
        self.run_id = run_id
        self.resolved = resolved
        self._precision = precision_here(resolved.config.compute)
        self._raise_incarnation(self._saved_incarnation())
        arm(self.me, self.incarnation)
        self._enter()

    def _raise_incarnation(self, saved: int) -> None:
        """
        Be newer than whatever was in this place before.

        :param saved: highest incarnation among the checkpoints here.
        """
        told = self.run_config.incarnations
        known = told[self.index] if self.index < len(told) else 0
        self.incarnation = next_incarnation(
            self.folder.checkpoints, self.me, max(known, self.incarnation, saved)
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

    # ---- the coordinator -------------------------------------------------------------------

    def _check_silence(self) -> None:
        """The coordinator repeats itself; a run without it for long has no future."""
        limit = self.resolved.config.stream.silence_s
        if time.monotonic() - self._coordinator_heard() > limit:
            raise RunFailed(
                f'{self.me} has heard nothing from the coordinator on '
                f'{self.run_config.host} for {limit:.0f} s (stream.silence_s): is it still '
                'running, and is the network up?'
            )

    def _coordinator_heard(self) -> float:
        """Monotonic time of the coordinator's last word."""
        return self._coordinator_heard_s

    def _await_goodbye(self) -> None:
        """Stay until the coordinator has all it wants of this node, and says so."""
        while not self._finished:
            self.check()
            self._check_silence()
            self.waiting('the coordinator to finish the run')
            with self.changed:
                self.changed.wait(0.2)

    # ---- heartbeat -----------------------------------------------------------------------

    def _now(self) -> Any:
        return self.get_clock().now().to_msg()

    def _on_status(self, message: msg.LayerStatus) -> None:
        if self.resolved is None:
            self._on_twin(message)
        elif message.layer != self.index:
            self._on_other_status(message)
        elif wrong := self._wrong_with_status(message, self.incarnation):
            self.reject('status', wrong)
        elif message.incarnation > self.incarnation:
            self.fail(
                Replaced(
                    f'{message.node} on {message.host} has taken over (incarnation '
                    f'{message.incarnation}, this one is {self.incarnation}): this node ends'
                )
            )

    def _on_twin(self, message: msg.LayerStatus) -> None:
        """Remember a node of this place that takes part in a run, which may not be known yet."""
        working = message.state in (msg.LayerStatus.TRAINING, msg.LayerStatus.WAITING)
        if message.layer == self.index and message.incarnation and working:
            self._twin, self._twin_heard_s = message, time.monotonic()
            self._end_if_taken()

    def _end_if_taken(self) -> None:
        """A node of this place that takes part in the run keeps it; this one ends."""
        wanted = self.wanted_run_id or (
            messages.run_id_text(self._pending.run_id) if self._pending else ''
        )
        twin = self._twin
        if twin is None or not self._still_listening(self._twin_heard_s):
            return
        if messages.run_id_text(twin.run_id) == wanted:
            self.fail(
                Replaced(
                    f'{self.me} runs on {twin.host} already (incarnation {twin.incarnation}): '
                    'end that one first if it shall run here'
                )
            )

    def _wrong_with_status(self, message: msg.LayerStatus, known: int) -> str | None:
        """
        Give why a heartbeat is not to be heeded.

        :param known: incarnation of its sender that is known, 0 for none.
        """
        run_id = messages.run_id_text(message.run_id)
        if run_id not in (self.run_id, messages.NO_RUN):
            return 'it belongs to another run'
        if wrong := soundness.of_status(message, self._members(self.resolved)):
            return wrong
        if not message.incarnation:
            return None  # of a node that is back but has not joined yet; it replaces nobody
        if run_id == messages.NO_RUN:
            return 'it has an incarnation, but no run'
        return soundness.of_incarnation(message.incarnation, known)

    def _beat(self) -> None:
        """Publish the heartbeat, from the executor's thread also while a step computes."""
        now = time.monotonic()
        handled = self.handled
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
                f'{self.me}: waiting for {self.waiting_for}', throttle_duration_sec=10.0
            )
        self.diagnose(
            level,
            str(self.error or self.awaited or STATE_NAMES[self._current_state()]),
            {'item': handled, 'items_per_second': f'{rate:.1f}', 'rss_mb': f'{rss_mb():.0f}'},
        )

    def _explain_place_taken(self) -> str:
        return f'another {self.me}, which the coordinator on {self._pending.host} hears,'

    def _explain_no_run(self) -> str:
        if self._place_lives:
            return (
                f'{self.me}: {self._explain_place_taken()} was not heard here within '
                f'{self.appear_s:.0f} s (stream.appear_s): end that one first if it shall run '
                'here, and look whether multicast reaches this device. `dff doctor` tells'
            )
        return (
            f'{self.me}: no coordinator announced a run in the namespace '
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
            precision=self._precision,
        )
        self._fill_status(message)
        return message

    def at_end(self) -> None:
        """Tell the coordinator about an error before leaving."""
        if self.error is not None:
            self.get_logger().error(str(self.error))
        # For a node that was replaced another one speaks: its error must not end the run.
        if self.error is not None and not isinstance(self.error, (NoRun, Replaced)):
            self._beat()
            self.await_heard(self._status, LAST_WORD_S)


def node_name(kind: str, arguments: list[str]) -> str:
    """
    Name a node after its number, so that two started by hand do not share a name.

    A node's name must be known before its parameters can be read.
    """
    for argument in arguments:
        key, _, value = argument.partition(':=')
        if key == kind and value.isdigit():
            return f'{kind}_{value}'
    return kind
