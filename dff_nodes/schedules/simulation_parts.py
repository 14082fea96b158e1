# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the models of all schedules are made of: nodes that compute, and links between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dff_nodes.schedules.simulation import Simulation, Timeline
from dff_nodes.schedules.step_times import ON_THE_WIRE


@dataclass(frozen=True)
class Host:
    """A device with its link."""

    name: str
    speed: float = 1.0
    """of a node that computes, against the machine that measured"""
    places: int = 1
    """nodes that compute at the same time"""
    link_mbit: float | None = None
    """each way; None: as fast as it goes"""


class Cluster:
    """
    Nodes on hosts, as resources of a simulation.

    A message is on its way for its bytes at the rate of the slower link, and longer by what it
    takes of that beside its payload. It occupies the sender's way out and the receiver's way in,
    and after them for the latency nothing.

    :param hosts: of each node.
    :param latency_s: from host to host.
    :param wire_share: time of a message over that of its payload.
    """

    def __init__(
        self, hosts: dict[str, Host], latency_s: float = 0.0, wire_share: float = ON_THE_WIRE
    ) -> None:
        self.hosts = hosts
        self.latency_s = latency_s
        self.wire_share = wire_share
        places = {}
        for host in hosts.values():
            places[host.name] = host.places
            places[f'link from {host.name}'] = places[f'link to {host.name}'] = 1
        self.simulation = Simulation(places)

    def compute(self, node: str, seconds: float, after: Sequence[int] = ()) -> int:
        """Let a node compute; `seconds` is the time on the machine that measured."""
        host = self.hosts[node]
        return self.simulation.add(seconds / host.speed, [host.name], after)

    def is_near(self, sender: str, receiver: str) -> bool:
        """Whether what one sends to the other stays on a device."""
        return self.hosts[sender].name == self.hosts[receiver].name

    def send(self, sender: str, receiver: str, count: int, after: Sequence[int]) -> int:
        """Let bytes travel."""
        source, target = self.hosts[sender], self.hosts[receiver]
        if self.is_near(sender, receiver):
            return self.simulation.add(0.0, (), after)
        rates = [host.link_mbit for host in (source, target) if host.link_mbit]
        seconds = 8 * self.wire_share * count / (min(rates) * 1e6) if rates else 0.0
        ways = [f'link from {source.name}', f'link to {target.name}']
        sent = self.simulation.add(seconds, ways, after)
        return self.simulation.add(self.latency_s, (), [sent]) if self.latency_s else sent

    def join(self, after: Sequence[int]) -> int:
        """Wait for several."""
        return self.simulation.add(0.0, (), after)

    def run(self) -> Timeline:
        """Let all of it pass."""
        return self.simulation.run()

    def busy_shares(self, timeline: Timeline) -> dict[str, float]:
        """Share of the time that each device and link is in use."""
        # A node computes one thing at a time: more places than nodes are never taken.
        nodes = Counter(host.name for host in self.hosts.values())
        places = {host.name: min(host.places, nodes[host.name]) for host in self.hosts.values()}
        whole = max(timeline.seconds, 1e-12)
        return {
            name: seconds / whole / places.get(name, 1)
            for name, seconds in timeline.busy_s.items()
        }
