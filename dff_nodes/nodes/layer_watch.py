# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the coordinator knows of the layers from their heartbeats."""

from __future__ import annotations

import math
import time
from typing import Any

from dff_msgs import msg

from dff_nodes.runs.result import LayerReport
from dff_nodes.runs.running_config import DeviceConfig

STATE_NAMES = {
    msg.LayerStatus.STARTING: 'starting',
    msg.LayerStatus.WAITING: 'waiting',
    msg.LayerStatus.TRAINING: 'training',
    msg.LayerStatus.DONE: 'done',
    msg.LayerStatus.ERROR: 'error',
}

ALIVE_BEATS = 2
"""heartbeats within which one of a node must have come for it to be there"""


class LayerWatch:
    """
    Keeps the latest word of every layer; the caller holds a lock if it has threads.

    :param names: of the nodes that train.
    :param placement: devices that run them.
    :param incarnations: highest known of each layer, {} for a run that begins.
    """

    def __init__(
        self,
        names: list[str],
        placement: dict[str, DeviceConfig],
        incarnations: dict[int, int],
    ) -> None:
        self.names = names
        self.incarnations = [incarnations.get(layer, 0) for layer in range(len(self.names))]
        self._placement = placement
        self._started_s = time.monotonic()
        self._statuses: dict[int, msg.LayerStatus] = {}
        self._metrics: dict[int, msg.LayerMetrics] = {}
        self._heard_s: dict[int, float] = {}
        self._joined_s: dict[int, float] = {}

    def on_status(self, message: msg.LayerStatus) -> bool:
        """Take in a heartbeat; give whether it is of a layer that came back."""
        now, layer = time.monotonic(), message.layer
        newer = message.incarnation > self.incarnations[layer]
        self._heard_s[layer] = now
        if message.incarnation:
            self._joined_s[layer] = now
        if message.incarnation or layer not in self._joined_s:
            self._statuses[layer] = message
        self.incarnations[layer] = max(message.incarnation, self.incarnations[layer])
        return newer

    def on_metrics(self, message: msg.LayerMetrics) -> None:
        """Take in what a layer learned."""
        self._metrics[message.layer] = message

    def missing(self, within_s: float) -> list[str]:
        """Layers of which no heartbeat has come for so long."""
        oldest = time.monotonic() - within_s
        return [
            self.place(layer)
            for layer in range(len(self.names))
            if self._heard_s.get(layer, 0.0) < oldest
        ]

    def is_alive(self, layer: int, within_s: float) -> bool:
        """Whether a layer that has joined the run was heard so long ago at most."""
        return time.monotonic() - self._joined_s.get(layer, -math.inf) < within_s

    def silences(self) -> list[float]:
        """Time since the last heartbeat of each layer that has joined; -1 where none was heard."""
        now = time.monotonic()
        return [
            now - self._joined_s[layer] if layer in self._joined_s else -1.0
            for layer in range(len(self.names))
        ]

    def silent_s(self, layer: int) -> float:
        """Time since a layer's last heartbeat, or since the beginning."""
        return time.monotonic() - self._heard_s.get(layer, self._started_s)

    def place(self, layer: int) -> str:
        """Give a layer's name with its host, as far as that is known."""
        name = self.names[layer]
        if layer in self._statuses:
            return f'{name} on {self._statuses[layer].host}'
        for device, entry in self._placement.items():
            if name in entry.nodes:
                return f'{name} on {device}'
        return name

    def all_saved(self, item: int) -> bool:
        """Whether every layer has a checkpoint of the state before an item."""
        return all(
            layer in self._statuses and item in self._statuses[layer].checkpoints
            for layer in range(len(self.names))
        )

    def unfinished(self) -> list[str]:
        """Layers that have not given their final figures."""
        return [
            self.place(layer)
            for layer in range(len(self.names))
            if layer not in self._statuses or self._statuses[layer].state != msg.LayerStatus.DONE
        ]

    def any_trains(self) -> bool:
        """Whether a node has begun."""
        begun = (msg.LayerStatus.TRAINING, msg.LayerStatus.DONE)
        return any(status.state in begun for status in self.statuses())

    def statuses(self) -> list[msg.LayerStatus]:
        """Give the latest heartbeat of every node, an empty one of those not heard."""
        return [
            self._statuses.get(layer, msg.LayerStatus(own_accuracy=-1.0))
            for layer in range(len(self.names))
        ]

    def reports(self) -> list[LayerReport]:
        """Give the final figures of every layer."""
        return [
            LayerReport(
                weights_sha256=status.weights_sha256,
                parameter_bytes=status.parameter_bytes,
                received_bytes=status.received_bytes,
                goodness_bytes=status.goodness_bytes,
                resent_items=status.resent_items,
                rejected_messages=status.rejected_messages,
                restarts=status.incarnation - 1,
                applied_sha256=status.applied_sha256,
                peak_rss_mb=status.peak_rss_mb,
                base_rss_mb=status.base_rss_mb,
                precision=status.precision,
            )
            for status in (self._statuses[layer] for layer in range(len(self.names)))
        ]

    def progress(self) -> list[dict[str, Any]]:
        """Give the rows of a progress event."""
        return [self._progress_of(layer) for layer in range(len(self.names))]

    def _progress_of(self, layer: int) -> dict[str, Any]:
        status = self._statuses.get(layer)
        metrics = self._metrics.get(layer)
        of_status = ('host', 'items_per_second', 'input_queue', 'waiting_for', 'rss_mb')
        of_metrics = ('loss', 'positive_goodness', 'negative_goodness')
        return {
            'name': self.names[layer],
            'state': STATE_NAMES.get(status.state) if status else None,
            **{name: getattr(status, name) if status else None for name in of_status},
            **{name: getattr(metrics, name) if metrics else None for name in of_metrics},
        }


def known_incarnations(records: list[dict[str, Any]]) -> dict[int, int]:
    """Give the highest incarnation of each layer among a journal's records."""
    known: dict[int, int] = {}
    for record in records:
        for layer, incarnation in enumerate(record.get('incarnations', ())):
            known[layer] = max(incarnation, known.get(layer, 0))
    return known
