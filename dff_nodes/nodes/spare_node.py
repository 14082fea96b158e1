# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node of a spare device: it becomes a layer that has not been heard for too long."""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from dff_msgs import msg
from rcl_interfaces.msg import FloatingPointRange, IntegerRange

from dff_nodes.nodes import messages, qos, soundness
from dff_nodes.nodes.deployment import NodeSpec
from dff_nodes.nodes.participant import PAUSED, Participant, RunFailed, run_node
from dff_nodes.nodes.process import die_with_parent

LOOK_S = 0.5
MOST_FILES = 65536


class SpareNode(Participant):
    """
    Watches the heartbeats of a run, and becomes a layer that is lost.

    The layer goes on from its replica at the coordinator, under a higher incarnation, so
    that the one that was lost steps back should it return.
    """

    def __init__(self) -> None:
        super().__init__('spare')
        self.layer_parameters = {
            'config': self.parameter('config', '', 'configuration file of the run'),
            'runs': self.parameter('runs', 'runs', 'folder that holds the run folders'),
            'run_id': self.parameter('run_id', '', '32 hexadecimal digits; empty: any run'),
            'heartbeat_s': self.parameter('heartbeat_s', 1.0, 'of the layer, s'),
            'appear_s': self.parameter('appear_s', 600.0, 'of the layer, s'),
        }
        layers = self.parameter(
            'layers',
            1,
            'layers of the network',
            integer_range=[IntegerRange(from_value=1, to_value=1000, step=1)],
        )
        lease_s = self.parameter(
            'lease_s',
            30.0,
            'without a heartbeat after which a layer is taken over, s',
            floating_point_range=[FloatingPointRange(from_value=2.0, to_value=86400.0, step=0.0)],
        )
        rank = self.parameter('rank', 0, 'place among the spares; each waits half as long again')
        self._lease_s = lease_s * (1 + rank / 2)
        self._heard_s: dict[int, float] = {}
        self._layers = layers
        self._run_id: str | None = self.layer_parameters['run_id'] or None
        self._running = False
        self.create_subscription(msg.LayerStatus, 'status', self._on_status, qos.STATUS)
        self.create_subscription(msg.RunConfig, 'config', self._on_config, qos.LATCHED)
        self.create_timer(LOOK_S, self._look)

    def _on_config(self, message: msg.RunConfig) -> None:
        run_id = messages.run_id_text(message.run_id)
        wrong = soundness.of_config(message)
        if wrong or (self._run_id and run_id != self._run_id):
            self.reject('config', wrong or 'it belongs to another run')
            return
        self._run_id = run_id
        if message.phase == msg.RunConfig.RUNNING:
            if not self._running:
                now = time.monotonic()
                self._heard_s = {layer: now for layer in range(self._layers)}
            self._running = True
        elif message.phase == msg.RunConfig.FAILED:
            self.fail(RunFailed(f'the coordinator ended the run: {message.reason}'))
        else:
            self.stop(PAUSED)

    def _on_status(self, message: msg.LayerStatus) -> None:
        wrong = soundness.of_status(message, self._layers)
        if wrong:
            self.reject('status', wrong)
        elif message.incarnation and messages.run_id_text(message.run_id) == self._run_id:
            self._heard_s[message.layer] = time.monotonic()

    def _look(self) -> None:
        """Take over the first layer that has been silent for longer than its lease."""
        oldest = time.monotonic() - self._lease_s
        for layer, heard_s in sorted(self._heard_s.items()):
            if self._running and heard_s < oldest:
                self.get_logger().warning(
                    f'layer_{layer} has been silent for {self._lease_s:.0f} s '
                    '(restart.lease_s): this device takes it over'
                )
                self._become(layer)

    def _become(self, layer: int) -> NoReturn:
        """
        Replace this process by the layer's node, as it is.

        Nothing is closed in order: the middleware has been seen to wait, without end, for the
        very node that hangs.
        """
        name = f'layer_{layer}'
        parameters = {**self.layer_parameters, 'layer': layer}
        log_level = self.get_logger().get_effective_level().name.lower()
        spec = NodeSpec(name, 'layer_node', parameters)
        command = spec.command(self.get_namespace(), log_level)
        sys.stdout.flush()
        sys.stderr.flush()
        os.closerange(3, MOST_FILES)
        os.execv(command[0], command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Watch a run, and become a layer of it if one is lost."""
    die_with_parent()
    run_node(SpareNode, arguments)


if __name__ == '__main__':
    main()
