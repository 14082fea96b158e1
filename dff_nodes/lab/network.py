# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The lab's network: a switch, and a cable from it to each device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dff_nodes.lab.commands import run
from dff_nodes.lab.loss import Loss, install_loss
from dff_nodes.lab.names import is_left_over

NAMESPACES = Path('/run/netns')
INTERFACE = 'eth0'
"""of a device; its other end is the switch's port_0, port_1, ..."""
BRIDGE = 'bridge'
ADDRESS = '10.77.0.{}'
QUEUE_BYTES = 1_500_000
"""of an end of a cable: a thousand frames, as Linux gives a network card"""
BURST_S = 0.005
SMALLEST_BURST_BYTES = 16_000


@dataclass(frozen=True)
class LinkLimits:
    """What a cable carries."""

    mbit: float | None = None
    """each way; None is as fast as it goes"""
    loss: float = 0.0
    """share of the frames to the device that is lost"""


@dataclass(frozen=True)
class Traffic:
    """What went over a cable."""

    sent_bytes: int
    received_bytes: int
    """with what was lost then"""
    lost_frames: int
    """by the loss that was asked for"""
    overflowed_frames: int
    """that found the queue at either end full"""


class Network:
    """
    A switch and the devices on it, each a network namespace.

    The switch is a namespace too, and nothing connects it to this machine's own network: no
    frame leaves the lab, none comes in, and addresses need not be free outside. Without a
    route to anywhere else, a device reaches the others and itself.

    :param prefix: what all its names begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._switch = f'{prefix}-switch'
        self._ports: dict[str, int] = {}
        self._losses: dict[str, Loss] = {}

    def create(self) -> None:
        """Make the switch."""
        run('ip', 'netns', 'add', self._switch)
        # Every device hears every multicast, as with the simple switches that people have.
        bridge = ['type', 'bridge', 'mcast_snooping', '0', 'stp_state', '0', 'forward_delay', '0']
        self._ip(self._switch, 'link', 'add', BRIDGE, *bridge)
        self._ip(self._switch, 'link', 'set', 'dev', BRIDGE, 'up')

    def add(self, device: str, limits: LinkLimits) -> None:
        """Make a device and connect it."""
        port = self._ports[device] = len(self._ports)
        inside, name = self.namespace(device), f'port_{port}'
        run('ip', 'netns', 'add', inside)
        peer = ['type', 'veth', 'peer', 'name', name, 'netns', self._switch]
        run('ip', 'link', 'add', INTERFACE, 'netns', inside, *peer)
        self._ip(self._switch, 'link', 'set', 'dev', name, 'master', BRIDGE, 'up')
        address = f'{self.address(device)}/24'
        self._ip(inside, 'address', 'add', address, 'dev', INTERFACE)
        for interface in ('lo', INTERFACE):
            self._ip(inside, 'link', 'set', 'dev', interface, 'up')
        self._ip(inside, 'route', 'add', '224.0.0.0/4', 'dev', INTERFACE)
        if limits.mbit is not None:
            _limit_rate(inside, INTERFACE, limits.mbit)
            _limit_rate(self._switch, name, limits.mbit)
        if limits.loss > 0:
            self._losses[device] = install_loss(inside, INTERFACE, limits.loss)

    def namespace(self, device: str) -> str:
        """Name of a device's network namespace."""
        return f'{self._prefix}-{self._ports[device]}'

    def address(self, device: str) -> str:
        """IPv4 address of a device."""
        return ADDRESS.format(self._ports[device] + 1)

    @property
    def loss_tool(self) -> str | None:
        """The tool that loses frames, None if none is to be lost."""
        return next((loss.tool for loss in self._losses.values()), None)

    def plug(self, device: str, connected: bool) -> None:
        """Pull a device's cable out of the switch, or put it back."""
        state = 'up' if connected else 'down'
        self._ip(self._switch, 'link', 'set', 'dev', f'port_{self._ports[device]}', state)

    def traffic(self, device: str) -> Traffic:
        """Read what went over a device's cable so far."""
        inside = self.namespace(device)
        shown = self._ip(inside, '-s', '-j', 'link', 'show', 'dev', INTERFACE)
        counters = json.loads(shown)[0]['stats64']
        ends = (inside, INTERFACE), (self._switch, f'port_{self._ports[device]}')
        loss = self._losses.get(device)
        return Traffic(
            sent_bytes=counters['tx']['bytes'],
            received_bytes=counters['rx']['bytes'],
            lost_frames=loss.lost(inside, INTERFACE) if loss else 0,
            overflowed_frames=sum(_overflowed(*end) for end in ends),
        )

    def _ip(self, namespace: str, *words: str) -> str:
        return run('ip', '-n', namespace, *words)


def _limit_rate(namespace: str, interface: str, mbit: float) -> None:
    bits = round(mbit * 1e6)
    burst = max(SMALLEST_BURST_BYTES, round(bits / 8 * BURST_S))
    # The queue is given in bytes: a time would be another queue with every rate.
    limits = ['rate', f'{bits}bit', 'burst', f'{burst}b', 'limit', f'{QUEUE_BYTES}b']
    run('tc', '-n', namespace, 'qdisc', 'add', 'dev', interface, 'root', 'tbf', *limits)


def _overflowed(namespace: str, interface: str) -> int:
    text = run('tc', '-n', namespace, '-s', '-j', 'qdisc', 'show', 'dev', interface)
    return sum(each['drops'] for each in json.loads(text) if each['kind'] == 'tbf')


def namespaces(prefix: str) -> list[str]:
    """Name the network namespaces that begin so."""
    return sorted(path.name for path in NAMESPACES.glob(f'{prefix}-*'))


def left_over_namespaces() -> list[str]:
    """Name the network namespaces of labs that are gone."""
    return [name for name in namespaces('dfflab') if is_left_over(name)]


def remove_namespace(name: str) -> None:
    """Remove a namespace, with the interfaces in it."""
    if (NAMESPACES / name).exists():
        run('ip', 'netns', 'delete', name)
