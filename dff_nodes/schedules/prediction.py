# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How long a run would take on given devices: its steps as jobs of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dff_nodes.runs.config import worker_names
from dff_nodes.runs.device_profiles import DeviceProfile, PlannedDevice
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.traffic import COORDINATOR
from dff_nodes.schedules.chapter_simulation import ChapterModel
from dff_nodes.schedules.placements import spread
from dff_nodes.schedules.simulation_parts import Cluster, Host
from dff_nodes.schedules.step_times import ITEMS, PARTS, StepTimes
from dff_nodes.schedules.stream_simulation import StreamModel

DESK = 'desk'
"""of the coordinator, as in the lab: as fast as the machine that measured, without limits"""
CLEAR_SHARE = 0.5
"""of the run, from which what is busy counts as what the others wait for"""


@dataclass(frozen=True)
class Prediction:
    """What a run would be like."""

    schedule: str
    seconds: float
    epochs: int
    hosts: dict[str, list[str]]
    """device to its nodes; the coordinator's is DESK"""
    busy: dict[str, float]
    """share of the run that each device computes, and each link carries something"""

    @property
    def epoch_seconds(self) -> float:
        """Mean time of an epoch, s."""
        return self.seconds / self.epochs

    @property
    def bottleneck(self) -> str:
        """What the others wait for."""
        name, share = max(self.busy.items(), key=lambda item: item[1])
        text = f'{name} {100 * share:.0f} % busy'
        return text if share >= CLEAR_SHARE else f'waiting for each other ({text})'


def predict(
    resolved: ResolvedRun,
    times: StepTimes,
    devices: Sequence[PlannedDevice],
    link_mbit: float | None,
    latency_s: float,
) -> Prediction:
    """
    Foretell a run whose coordinator has a device of its own.

    :param devices: nodes are spread over them; those that are too many have none.
    :param link_mbit: rate of every link, Mbit/s; None: that of each device's profile.
    """
    config = resolved.config
    travels = PARTS if config.schedule.chapters else ITEMS
    rates = [link_mbit or device.profile.link_mbit for device in devices]
    mbit = min([rate for rate in rates if rate], default=None)
    names = worker_names(config)
    used = min(len(devices), len(names))
    cpu = min((each.profile.cpu for each in devices[:used] if each.profile.cpu), default=None)
    times = times.over_links(travels, mbit, cpu)
    model = StreamModel(resolved, times)
    if config.schedule.chapters:
        model = ChapterModel(resolved, times)
    speeds = [_speed(device, times, used) for device in devices]
    homes = spread(model.loads(), speeds)
    hosts = {
        name: _host(devices[home], times, link_mbit, used, homes.count(home))
        for name, home in zip(names, homes, strict=True)
    }
    desk = PlannedDevice(name=DESK, kind=DESK, profile=DeviceProfile(speed=1, cores=8))
    hosts[COORDINATOR] = _host(desk, times, link_mbit, used)
    share = times.wire_share(travels, mbit, cpu)
    cluster = Cluster(hosts, latency_s, share)
    seconds, busy = model.simulate(cluster)
    placed: dict[str, list[str]] = {}
    for node in (COORDINATOR, *names):
        placed.setdefault(hosts[node].name, []).append(node)
    return Prediction(config.schedule.name, seconds, config.training.epochs, placed, busy)


def _speed(device: PlannedDevice, times: StepTimes, used: int, nodes: int = 1) -> float:
    """Speed of a node there, less what its share of the processor costs (where measured)."""
    cost = times.quota_cost(device.profile.cpu, used, nodes)
    return device.profile.node_speed() / (cost or 1.0)


def _host(
    device: PlannedDevice, times: StepTimes, link_mbit: float | None, used: int, nodes: int = 1
) -> Host:
    profile = device.profile
    return Host(
        name=device.name,
        speed=_speed(device, times, used, nodes),
        places=profile.places(times.threads),
        link_mbit=link_mbit or profile.link_mbit,
    )
