# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run of the schedule stream as jobs: items that pass from node to node under credit."""

from __future__ import annotations

from itertools import islice

from dff_nodes.runs.config import layer_names
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.traffic import COORDINATOR
from dff_nodes.schedules.plan import PlannedItem, TrainingPlan
from dff_nodes.schedules.simulation_parts import Cluster
from dff_nodes.schedules.step_times import StepTimes
from dff_nodes.stream.item import Kind

MOST_STEPS = 60_000
"""items times layers that are simulated; what comes behind goes on at the same rate"""
SCORE_BYTES = 4


class StreamModel:
    """
    Every node handles the items in order, and passes one on when the next node has room for it.

    :param times: measured of the same network.
    """

    def __init__(self, resolved: ResolvedRun, times: StepTimes) -> None:
        self.resolved = resolved
        self.times = times
        self.plan = TrainingPlan(resolved)
        self.names = layer_names(resolved.config)

    def loads(self) -> list[float]:
        """Time that each layer computes for a training batch, s."""
        return [
            self.item_seconds(index, 'TRAIN', None) + self.item_seconds(index, 'SCORE', None)
            for index in range(len(self.names))
        ]

    def item_seconds(self, index: int, kind: str, cluster: Cluster | None) -> float:
        """
        Time of a layer's node for one item, s: to take it in, to compute, to pass it on.

        :param cluster: where the nodes are; None: each on a device of its own.
        """
        resolved, layer = self.resolved, self.times.layers[index]
        if kind == 'SCORE' and not resolved.config.has_readout:
            return 0.0
        computed = {'TRAIN': layer.train, 'SCORE': layer.score, 'EVALUATE': layer.evaluate}[kind]
        nodes = (COORDINATOR, *self.names)
        seconds = computed
        seconds += self._message(self._bytes(index, kind), nodes[index : index + 2], cluster)
        train = max(1, self._bytes(index, 'TRAIN'))
        seconds += layer.decode * self._bytes(index, kind) / train
        if index + 1 < len(self.names):
            count = self._bytes(index + 1, kind)
            share = count / max(1, self._bytes(index + 1, 'TRAIN'))
            seconds += layer.encode * share
            seconds += self._message(count, nodes[index + 1 : index + 3], cluster)
        if kind != 'TRAIN':
            seconds += self.times.far.message
        return seconds

    def _message(self, count: int, ends: tuple[str, ...], cluster: Cluster | None) -> float:
        """Time of one side for a message, and for the credit that comes back, s."""
        near = cluster is not None and cluster.is_near(*ends)
        return self.times.messages_between(near).of(count, messages=2)

    def _bytes(self, index: int, kind: str) -> int:
        resolved = self.resolved
        samples = resolved.config.training.batch_size
        if kind == 'EVALUATE':
            samples = resolved.evaluation_batch
        return resolved.hop_bytes(index, kind, samples)

    def simulate(self, cluster: Cluster) -> tuple[float, dict[str, float]]:
        """Give the time of the run, s, and the share of it that each resource is busy."""
        all_items = self.plan.items
        count = min(all_items, max(200, MOST_STEPS // len(self.names)))
        ends = self._jobs(cluster, list(islice(self.plan.from_item(0), count)))
        timeline = cluster.run()
        seconds = timeline.seconds
        if count < all_items:
            half = count // 2
            rate = (timeline.end[ends[-1]] - timeline.end[ends[half]]) / (count - 1 - half)
            seconds += rate * (all_items - count)
        return seconds, cluster.busy_shares(timeline)

    def _jobs(self, cluster: Cluster, items: list[PlannedItem]) -> list[int]:
        """Add the jobs of all items; give those with which each leaves the last layer."""
        window, layers = self.resolved.config.stream.window_items, len(self.names)
        computed: list[list[int]] = [[] for _ in range(layers)]
        given: list[int] = []
        scored: dict[tuple[int, int], int] = {}
        for place, item in enumerate(items):
            job = self._give_out(cluster, item, given, scored, computed[0], window)
            given.append(job)
            sender = COORDINATOR
            for index, name in enumerate(self.names):
                job = self._handle(cluster, item, index, sender, [job], computed, window)
                computed[index].append(job)
                sender = name
            if item.kind == Kind.SCORE:
                count = SCORE_BYTES * self.resolved.facts.classes
                count *= self.resolved.config.training.batch_size
                scored[item.epoch, item.index] = cluster.send(sender, COORDINATOR, count, [job])
            assert len(given) == place + 1
        return computed[-1]

    def _give_out(
        self,
        cluster: Cluster,
        item: PlannedItem,
        given: list[int],
        scored: dict[tuple[int, int], int],
        first: list[int],
        window: int,
    ) -> int:
        """The coordinator makes an item when the first layer has room for it."""
        after = [given[-1]] if given else []
        if len(first) >= window:
            after.append(first[len(given) - window])
        adaptive = self.resolved.config.training.negatives.mode == 'adaptive'
        if item.kind == Kind.TRAIN and adaptive and (item.epoch, item.index) in scored:
            after.append(scored[item.epoch, item.index])
        if item.kind == Kind.MARK:
            return cluster.compute(COORDINATOR, self.times.far.message, after)
        ends = COORDINATOR, self.names[0]
        seconds = self._message(self._bytes(0, item.kind.name), ends, cluster)
        if item.kind != Kind.EVALUATE:
            seconds += self.times.batch
        return cluster.compute(COORDINATOR, seconds, after)

    def _handle(
        self,
        cluster: Cluster,
        item: PlannedItem,
        index: int,
        sender: str,
        ready: list[int],
        computed: list[list[int]],
        window: int,
    ) -> int:
        """A layer takes an item from the node before, and computes."""
        mark = item.kind == Kind.MARK
        count = 0 if mark else self._bytes(index, item.kind.name)
        arrived = cluster.send(sender, self.names[index], count, ready)
        after, number = [arrived], len(computed[index])
        if number:
            after.append(computed[index][-1])
        # It publishes only when it holds credit, and does not begin the next item before.
        behind = number - window - 1
        if index + 1 < len(self.names) and behind >= 0:
            after.append(computed[index + 1][behind])
        if mark:
            seconds = self._message(0, (sender, self.names[index]), cluster)
        else:
            seconds = self.item_seconds(index, item.kind.name, cluster)
        return cluster.compute(self.names[index], seconds, after)
