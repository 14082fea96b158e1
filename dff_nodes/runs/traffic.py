# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Payload that each node of a run sends and receives, and what that is on a link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COORDINATOR = 'coordinator'


@dataclass(frozen=True)
class NodeTraffic:
    """Payload of one node over a whole run, bytes."""

    node: str
    received: int
    sent: int

    def seconds(self, link_mbit: float) -> float:
        """Time that the busier direction of its link is in use, s, at a rate in Mbit/s."""
        return 8 * max(self.received, self.sent) / (link_mbit * 1e6)


def collect(nodes: list[str], moved: Iterable[tuple[str, str, int]]) -> list[NodeTraffic]:
    """
    Add up what moves between nodes.

    :param moved: sender, receiver and bytes of each thing that moves.
    """
    received, sent = dict.fromkeys(nodes, 0), dict.fromkeys(nodes, 0)
    for sender, receiver, count in moved:
        sent[sender] += count
        received[receiver] += count
    return [NodeTraffic(node, received[node], sent[node]) for node in nodes]


def total(traffic: list[NodeTraffic]) -> int:
    """Bytes of a run, each counted where it arrives."""
    return sum(node.received for node in traffic)


def busiest(traffic: list[NodeTraffic]) -> NodeTraffic:
    """Give the node whose link has most to carry in one direction."""
    return max(traffic, key=lambda node: max(node.received, node.sent))
