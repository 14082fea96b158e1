# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run would be like with each schedule, and on more devices than there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dff_nodes.runs.config_file import check_config
from dff_nodes.runs.device_profiles import PlannedDevice
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.traffic import total
from dff_nodes.schedules.needs import run_needs, with_schedule
from dff_nodes.schedules.prediction import DESK, Prediction, predict
from dff_nodes.schedules.step_times import StepTimes

PREDICTED = ('sequential', 'stream', 'single_layer', 'all_layers')
SIZES = (1, 2, 3, 4, 8, 16, 64)
RINGS = ('all_layers', 'federated')


@dataclass(frozen=True)
class Candidate:
    """One schedule on the devices, or why there is no such run."""

    schedule: str
    prediction: Prediction | None = None
    bytes: int = 0
    """payload of the whole run"""
    memory_mb: dict[str, float] | None = None
    """that each device's nodes need"""
    speed_up: float = 1.0
    """against the sequential schedule on the quickest of the devices"""
    refused: str | None = None


@dataclass(frozen=True)
class ScaledPoint:
    """A number of devices, and the speed-up of one way to use them."""

    way: str
    devices: int
    used: int
    """devices that have a node"""
    layers: int
    speed_up: float
    epoch_seconds: float


class Planner:
    """
    Predicts runs of one configuration on links of one rate.

    :param times: measured of the layers of this network.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        times: StepTimes,
        link_mbit: float | None,
        latency_s: float,
    ) -> None:
        self.resolved = resolved
        self.times = times
        self.link_mbit = link_mbit
        self.latency_s = latency_s

    def candidates(self, devices: Sequence[PlannedDevice]) -> list[Candidate]:
        """Predict every schedule; the one of the configuration is among them."""
        own = self.resolved.config.schedule.name
        names = [*PREDICTED, *([own] if own not in PREDICTED else [])]
        base = self._sequential_s(self.resolved, self.times, devices)
        return [self._candidate(name, devices, base) for name in names]

    def _candidate(
        self, name: str, devices: Sequence[PlannedDevice], base: float | None
    ) -> Candidate:
        try:
            run = self._with(self.resolved, name, len(devices))
        except ConfigError as error:
            return Candidate(name, refused=str(error))
        used = [_quickest(devices)] if name == 'sequential' else devices
        prediction = self._predict(run, self.times, used)
        needs = run_needs(run)
        node_mb = {node.node: node.needed_mb for node in needs.nodes}
        memory = {
            host: sum(node_mb[node] for node in nodes) for host, nodes in prediction.hosts.items()
        }
        return Candidate(
            schedule=name,
            prediction=prediction,
            bytes=total(needs.traffic),
            memory_mb=memory,
            speed_up=(base or prediction.seconds) / max(prediction.seconds, 1e-12),
        )

    def _with(self, resolved: ResolvedRun, name: str, devices: int) -> ResolvedRun:
        """A ring has a worker on each device."""
        if name in RINGS:
            return with_schedule(resolved, name, workers=devices)
        return with_schedule(resolved, name)

    def _predict(
        self, run: ResolvedRun, times: StepTimes, devices: Sequence[PlannedDevice]
    ) -> Prediction:
        return predict(run, times, devices, self.link_mbit, self.latency_s)

    def _sequential_s(
        self, resolved: ResolvedRun, times: StepTimes, devices: Sequence[PlannedDevice]
    ) -> float | None:
        """Time of all in one worker, s; None for settings that only stream can do."""
        try:
            run = with_schedule(resolved, 'sequential')
        except ConfigError:
            return None
        return self._predict(run, times, [_quickest(devices)]).seconds

    def scaled(self, devices: Sequence[PlannedDevice]) -> list[ScaledPoint]:
        """
        Go on to 64 devices like the first: with this network, and with one as deep.

        Rings have more workers, the other schedules nodes only for the layers that there are.
        """
        kind, points = devices[0], []
        for count in SIZES:
            cluster = [
                kind.model_copy(update={'name': f'{kind.kind}_{each}'}) for each in range(count)
            ]
            for schedule in ('stream', 'single_layer', 'all_layers'):
                point = self._point(schedule, 'this network', self.resolved, self.times, cluster)
                points += [] if point is None else [point]
                if count > len(self.resolved.layers):
                    run, times = deepened(self.resolved, self.times, count)
                    point = self._point(schedule, 'a layer for each device', run, times, cluster)
                    points += [] if point is None else [point]
        return points

    def _point(
        self,
        schedule: str,
        network: str,
        resolved: ResolvedRun,
        times: StepTimes,
        cluster: Sequence[PlannedDevice],
    ) -> ScaledPoint | None:
        try:
            run = self._with(resolved, schedule, len(cluster))
        except ConfigError:
            return None
        prediction = self._predict(run, times, cluster)
        base = self._sequential_s(resolved, times, cluster)
        return ScaledPoint(
            way=f'{schedule}, {network}',
            devices=len(cluster),
            used=len(prediction.hosts.keys() - {DESK}),
            layers=len(resolved.layers),
            speed_up=(base or prediction.seconds) / max(prediction.seconds, 1e-12),
            epoch_seconds=prediction.epoch_seconds,
        )


def _quickest(devices: Sequence[PlannedDevice]) -> PlannedDevice:
    return max(devices, key=lambda device: device.profile.node_speed())


def deepened(
    resolved: ResolvedRun, times: StepTimes, layers: int
) -> tuple[ResolvedRun, StepTimes]:
    """
    Repeat the last layer until there are so many; its times are those of the last layer.

    Where what it takes is not as wide as what it gives, times go with its parameters.
    """
    tree = resolved.config.model_dump(mode='json')
    more = layers - len(tree['network'])
    tree['network'] += [tree['network'][-1]] * more
    tree['placement'] = {}
    deep = resolve(check_config(tree, 'the deeper network'), resolved.facts)
    last = resolved.layers[-1].parameters
    scale = deep.layers[-1].parameters / max(1, last)
    repeated = _scaled(times.layers[-1], scale)
    return deep, replace(times, layers=[*times.layers, *([repeated] * more)])


def _scaled(times: object, factor: float):  # noqa: ANN202 - LayerTimes
    if factor == 1:
        return times
    fields = times.__dataclass_fields__
    return replace(times, **{name: factor * getattr(times, name) for name in fields})


def sizes_of(points: Sequence[ScaledPoint], key: Callable[[ScaledPoint], str]) -> dict:
    """Group points by what they have in common."""
    groups: dict[str, list[ScaledPoint]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    return groups
