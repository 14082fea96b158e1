# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The whole run in one process without ROS: what every distributed run must equal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dff_nodes.learning.compute import compute_device, precision_here, prepare_torch, warm_up
from dff_nodes.learning.early_exit import make_early_exit
from dff_nodes.learning.layer import make_layer
from dff_nodes.runs.memory import peak_rss_mb, rss_mb
from dff_nodes.runs.metrics import MetricsAverage, MetricsRow
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.result import LayerReport, RunFigures
from dff_nodes.schedules.layer_worker import LayerWorker
from dff_nodes.schedules.stream import Evaluation, StreamCoordinator
from dff_nodes.stream.item import Item, Kind, Mark


@dataclass
class Listener:
    """What is told of a run while it goes on; every callback is optional."""

    on_metrics: Callable[[MetricsRow], None] = lambda row: None
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None
    on_item: Callable[[Item], None] = lambda item: None
    """an item has passed all layers"""


class ReferenceRun:
    """
    Trains or evaluates all layers in this process, item by item.

    Exactly equivalent to the ROS 2 run of the same configuration: both feed the items of
    StreamCoordinator to LayerWorkers, only that here an item passes all layers before the next.

    :param first_item: item to begin with; layers must hold the state before it.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        coordinator: StreamCoordinator,
        first_item: int = 0,
        listener: Listener | None = None,
    ) -> None:
        device = compute_device(resolved.config.compute.device)
        prepare_torch(resolved.config.compute.threads, device, resolved.largest_buffer_bytes)
        self.resolved = resolved
        self.listener = listener or Listener()
        warm_up()
        self.base_rss_mb = rss_mb()
        self.layers = [
            make_layer(resolved, index, device) for index in range(len(resolved.layers))
        ]
        self.workers = [
            LayerWorker(layer, first_item, early_exit=make_early_exit(resolved, index))
            for index, layer in enumerate(self.layers)
        ]
        self.coordinator = coordinator
        self.trained_samples = 0

    def run(self) -> None:
        """Handle all items."""
        self._began = time.monotonic()
        self._averages = [
            MetricsAverage(index, self.resolved.config.metrics.every_s, self._began)
            for index in range(len(self.layers))
        ]
        reported = len(self.coordinator.evaluations)
        while (item := self.coordinator.next_item()) is not None:
            self._pass_through(item)
            self.listener.on_item(item)
            for evaluation in self.coordinator.evaluations[reported:]:
                self.listener.on_evaluation(evaluation)
            reported = len(self.coordinator.evaluations)
        if not self.coordinator.finished:
            raise RuntimeError(f'the run ended waiting for {self.coordinator.waiting_for_scores}')
        self.seconds = time.monotonic() - self._began

    def _pass_through(self, item: Item) -> None:
        """Let one item pass all layers."""
        samples = item.batch.samples if item.batch else 0
        if item.kind == Kind.TRAIN:
            self.trained_samples += samples
        for index, worker in enumerate(self.workers):
            began = time.monotonic()
            handled = worker.handle(item)
            if handled.scores is not None:
                self.coordinator.add_scores(index, item.number, handled.scores, handled.rows)
            now = time.monotonic()
            average = self._averages[index]
            average.add(handled.figures, samples, now - began)
            if average.due(now) or item.mark != Mark.NONE:
                row = average.take(now, now - self._began, item.number, item.epoch)
                if row:
                    self.listener.on_metrics(row)
            item = handled.passed_on

    def figures(self, setup_seconds: float) -> RunFigures:
        """Give what the run measured."""
        return RunFigures(
            evaluations=list(self.coordinator.evaluations),
            items=self.workers[0].next_item,
            trained_samples=self.trained_samples,
            seconds=self.seconds,
            setup_seconds=setup_seconds,
            coordinator_peak_rss_mb=peak_rss_mb(),
        )

    def reports(self) -> list[LayerReport]:
        """Give what each layer tells; all share one process, so memory is that of all."""
        return [
            LayerReport(
                weights_sha256=layer.weights_sha256(),
                applied_sha256=worker.applied,
                parameter_bytes=4 * shape.parameters,
                peak_rss_mb=peak_rss_mb(),
                base_rss_mb=self.base_rss_mb,
                precision=precision_here(self.resolved.config.compute),
            )
            for layer, worker, shape in zip(
                self.layers, self.workers, self.resolved.layers, strict=True
            )
        ]
