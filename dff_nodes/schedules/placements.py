# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Spreads nodes over devices so that the slowest device is as quick as can be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache


def spread(loads: Sequence[float], speeds: Sequence[float]) -> list[int]:
    """
    Give each node a device: neighbours together, devices in their order.

    With no more nodes than devices, each node has a device of its own, the first ones. Else every
    device has at least one node, and the largest time of a device is the smallest possible.

    :param loads: time of each node on a device of speed 1.
    :param speeds: of the devices.
    :returns: for each node the number of its device.
    """
    nodes, devices = len(loads), min(len(loads), len(speeds))
    sums = [0.0]
    for load in loads:
        sums.append(sums[-1] + load)

    @lru_cache(None)
    def best(first: int, device: int) -> tuple[float, int]:
        """Slowest of the devices from one on, and where the nodes of that one end."""
        if device == devices - 1:
            return (sums[nodes] - sums[first]) / speeds[device], nodes
        found = []
        for end in range(first + 1, nodes - (devices - device - 1) + 1):
            own = (sums[end] - sums[first]) / speeds[device]
            found.append((max(own, best(end, device + 1)[0]), end))
        return min(found)

    homes: list[int] = []
    for device in range(devices):
        _, end = best(len(homes), device)
        homes += [device] * (end - len(homes))
    return homes
