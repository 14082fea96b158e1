# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which devices a configuration's lab has, and which node runs on which."""

from __future__ import annotations

from dataclasses import dataclass

from dff_nodes.lab.cgroup import Limits
from dff_nodes.runs.config import Config, worker_names
from dff_nodes.runs.errors import ConfigError

COORDINATOR = 'coordinator'
DESK = 'desk'
"""device of the coordinator where nothing else is said: like the computer one works at"""


@dataclass(frozen=True)
class Device:
    """One emulated device."""

    name: str
    nodes: tuple[str, ...]
    limits: Limits = Limits()


def devices_of(config: Config) -> list[Device]:
    """
    Give the devices of a configuration: those of its placement, else desk, pi0, pi1, ...

    A device with the coordinator alone has no limits.

    :raises ConfigError: if there are more devices than nodes that train, or both ways are taken.
    """
    if config.placement:
        return _placed(config)
    workers = worker_names(config)
    count = config.lab.devices or len(workers)
    if count > len(workers):
        raise ConfigError(
            f'lab.devices must be at most the number of nodes that train ({len(workers)}), as '
            f'each runs on one device, got {count}'
        )
    devices = [Device(DESK, (COORDINATOR,))]
    for index in range(count):
        # The first devices have one node more where it does not come out even.
        first, last = (-(-len(workers) * edge // count) for edge in (index, index + 1))
        devices.append(_device(config, f'pi{index}', tuple(workers[first:last])))
    return devices


def _placed(config: Config) -> list[Device]:
    if config.lab.devices is not None:
        raise ConfigError(
            'lab.devices spreads the layers over devices, and this configuration has a placement '
            'that does so already: leave one of the two out'
        )
    return [
        _device(config, name, tuple(placed.nodes), placed.memory_mb)
        for name, placed in config.devices.items()
    ]


def _device(
    config: Config, name: str, nodes: tuple[str, ...], memory_mb: float | None = None
) -> Device:
    if nodes == (COORDINATOR,):
        return Device(name, nodes)
    return Device(name, nodes, Limits(config.lab.cpu, config.lab.memory_mb or memory_mb))


def single_device(config: Config) -> Device:
    """Give one device that runs the whole network by itself."""
    memory = config.lab.memory_mb
    if memory is None:
        sizes = [placed.memory_mb for placed in config.devices.values() if placed.memory_mb]
        memory = max(sizes, default=None)
    return Device('pi0', (), Limits(config.lab.cpu, memory))
