# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A run with chapters as jobs: parts that are made, travel and are evaluated."""

from __future__ import annotations

from dff_nodes.runs.config import worker_names
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.segment import CHUNK_BYTES
from dff_nodes.runs.traffic import COORDINATOR
from dff_nodes.schedules.chapter_traffic import Transfer, transfers_of, transfers_to_coordinator
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part, part_bytes
from dff_nodes.schedules.simulation_parts import Cluster
from dff_nodes.schedules.step_times import StepTimes


class ChapterModel:
    """
    Workers make their parts in order; what a part needs comes while the one before is made.

    :param times: measured of the same network.
    """

    def __init__(self, resolved: ResolvedRun, times: StepTimes) -> None:
        self.resolved = resolved
        self.plan = ChapterPlan(resolved)
        self.times = times
        self.names = worker_names(resolved.config)

    def loads(self) -> list[float]:
        """Time that each worker computes in the whole run, s."""
        return [
            sum(self.part_seconds(part) for part in self.plan.parts_of(worker))
            for worker in range(self.plan.workers)
        ]

    # ---- what a step costs -----------------------------------------------------------------

    def part_seconds(self, part: Part) -> float:
        """Time to make a part, and to keep it, s."""
        return self.prepare_seconds(part) + self.train_seconds(part)

    def prepare_seconds(self, part: Part) -> float:
        """Time to make what arrives at a part's layer, s."""
        plan, layers = self.plan, self.times.layers
        if not plan.is_layer(part):
            return 0.0
        first = self._cached_depth(part.layer)
        readout = self.resolved.config.has_readout
        samples = self.resolved.chapter_samples(part.chapter)
        blocks = plan.passes * samples / self.times.block_samples
        passed = sum(
            each.pass_on + readout * each.pass_neutral for each in layers[first : part.layer]
        )
        drawn = self.times.batch if first == 0 and not self._caches(part.layer) else 0.0
        steps = self.resolved.chapter_steps(part.chapter) * plan.passes / plan.epochs_each
        return steps * drawn + blocks * passed

    def train_seconds(self, part: Part) -> float:
        """Time of a part's training steps, or to choose negatives, and to keep it, s."""
        layers = self.times.layers
        if not self.plan.is_layer(part):
            rows = self.resolved.chapter_samples(part.chapter) / self.resolved.evaluation_batch
            return rows * sum(each.evaluate for each in layers[: self.plan.layers])
        layer, readout = layers[part.layer], self.resolved.config.has_readout
        step = layer.train + readout * layer.score
        return self.resolved.chapter_steps(part.chapter) * step + layer.keep

    def _caches(self, layer: int) -> bool:
        """Whether images are at hand from the layer before."""
        return layer > 0 and self._is_cached(0)

    def _is_cached(self, layer: int) -> bool:
        """Whether the worker of the next layer has what arrived at this one."""
        return self.plan.schedule.name != 'single_layer' and self.plan.keeps_arrivals(layer)

    def _cached_depth(self, layer: int) -> int:
        """Give the last layer before this one whose arriving samples are at hand."""
        return max((each for each in range(layer) if self._is_cached(each)), default=0)

    def _pack_seconds(self, transfer: Transfer, cluster: Cluster) -> float:
        """Time of the sender, s."""
        packed = self._share(transfer) * self._layer_times(transfer).pack
        return packed + self._message(transfer, cluster)

    def _unpack_seconds(self, transfer: Transfer, cluster: Cluster) -> float:
        """Time of the receiver, s."""
        unpacked = self._share(transfer) * self._layer_times(transfer).unpack
        return unpacked + self._message(transfer, cluster)

    def _layer_times(self, transfer: Transfer):  # noqa: ANN202 - LayerTimes
        return self.times.layers[min(transfer.need.part.layer, self.plan.layers - 1)]

    def _share(self, transfer: Transfer) -> float:
        """Bytes of what travels against those of a whole part, which was measured."""
        layer = min(transfer.need.part.layer, self.plan.layers - 1)
        whole = part_bytes(self.plan, Need(Part(0, layer), whole=True))
        return part_bytes(self.plan, transfer.need) / whole

    def _message(self, transfer: Transfer, cluster: Cluster) -> float:
        count = part_bytes(self.plan, transfer.need)
        times = self.times.messages_between(cluster.is_near(*self._ends(transfer)))
        return times.of(count, messages=1 + count // CHUNK_BYTES)

    def _ends(self, transfer: Transfer) -> tuple[str, str]:
        """Name the sender and the receiver."""
        sender, receiver = (
            self.names[number] if number in range(self.plan.workers) else COORDINATOR
            for number in (transfer.sender, transfer.receiver)
        )
        return sender, receiver

    # ---- the jobs --------------------------------------------------------------------------

    def simulate(self, cluster: Cluster) -> tuple[float, dict[str, float]]:
        """Give the time of the run, s, and the share of it that each resource is busy."""
        self._made: dict[Part, int] = {}
        arriving = [list(transfers_of(self.plan, worker)) for worker in range(self.plan.workers)]
        wanted: dict[Part, list[Transfer]] = {}
        sent: dict[Part, float] = {}
        to_coordinator = list(transfers_to_coordinator(self.plan))
        for transfer in [each for every in arriving for each in every] + to_coordinator:
            if transfer.purpose is not None:
                wanted.setdefault(transfer.purpose, []).append(transfer)
            part = transfer.need.part
            sent[part] = sent.get(part, 0.0) + self._pack_seconds(transfer, cluster)
        self._make_all(cluster, wanted, sent)
        self._evaluate_all(cluster, to_coordinator)
        timeline = cluster.run()
        return timeline.seconds, cluster.busy_shares(timeline)

    def _make_all(
        self,
        cluster: Cluster,
        wanted: dict[Part, list[Transfer]],
        sent: dict[Part, float],
    ) -> None:
        last: dict[int, int] = {}
        before: dict[int, int] = {}
        fetched: dict[int, int] = {}
        for part in self.plan.parts():
            worker = self.plan.maker(part)
            name = self.names[worker]
            below, own = [], []
            for transfer in wanted.get(part, []):
                after = [self._made[transfer.need.part]]
                # A worker asks while it makes the part before, for one thing after the other.
                after += [place[worker] for place in (before, fetched) if worker in place]
                count = part_bytes(self.plan, transfer.need)
                fetched[worker] = cluster.send(*self._ends(transfer), count, after)
                of_own = transfer.need.part.layer == part.layer
                (own if of_own else below).append((fetched[worker], transfer))
            if worker in last:
                before[worker] = last[worker]
            after = [job for job, _ in below] + ([last[worker]] if worker in last else [])
            seconds = sum(self._unpack_seconds(transfer, cluster) for _, transfer in below)
            seconds += self.prepare_seconds(part)
            if self._keeps_prepared(part):
                # What arrives at a layer is made while the layer itself is on its way.
                after, seconds = [cluster.compute(name, seconds, after)], 0.0
            after += [job for job, _ in own]
            seconds += sum(self._unpack_seconds(transfer, cluster) for _, transfer in own)
            seconds += self.train_seconds(part) + sent.get(part, 0.0)
            last[worker] = self._made[part] = cluster.compute(name, seconds, after)

    def _keeps_prepared(self, part: Part) -> bool:
        """Whether what arrives at a part's layer can be made ahead of the layer."""
        return self.plan.is_layer(part) and self.plan.keeps_arrivals(part.layer)

    def _evaluate_all(self, cluster: Cluster, transfers: list[Transfer]) -> None:
        """The coordinator evaluates what is due; the run's time ends behind the last."""
        fetched = evaluated = None
        for transfer in transfers:
            if transfer.need.whole:
                continue  # the network is kept when the clock has stopped
            part = transfer.need.part
            after = [self._made[part], *([] if fetched is None else [fetched])]
            count = part_bytes(self.plan, transfer.need)
            fetched = cluster.send(*self._ends(transfer), count, after)
            after = [fetched, *([] if evaluated is None else [evaluated])]
            seconds = self._unpack_seconds(transfer, cluster) + self._evaluation_seconds(part)
            fetched = evaluated = cluster.compute(COORDINATOR, seconds, after)

    def _evaluation_seconds(self, part: Part) -> float:
        samples = sum(
            self.plan.evaluated_samples(split) for split in self.plan.evaluated(part.chapter)
        )
        items = samples / self.resolved.evaluation_batch
        return items * self.times.layers[part.layer].evaluate
