# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Nodes over devices."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from dff_nodes.schedules.placements import spread


def test_each_node_has_a_device_where_there_are_enough() -> None:
    assert spread([1, 1, 1], [1, 1, 1, 1, 1]) == [0, 1, 2]


def test_the_slowest_device_is_as_quick_as_can_be() -> None:
    assert spread([4, 1, 1, 1, 1], [1, 1]) == [0, 1, 1, 1, 1]
    assert spread([1, 1, 1, 1], [3, 1]) == [0, 0, 0, 1]


@pytest.mark.parametrize('seed', range(5))
def test_no_other_way_is_quicker(seed: int) -> None:
    random = Random(seed)
    loads, speeds = [random.random() for _ in range(7)], [random.random() for _ in range(3)]

    def slowest(homes: list[int]) -> float:
        return max(
            sum(load for load, home in zip(loads, homes, strict=True) if home == device) / speed
            for device, speed in enumerate(speeds)
        )

    others = [
        [sum(node >= cut for cut in cuts) for node in range(7)]
        for cuts in combinations(range(1, 7), 2)
    ]
    assert slowest(spread(loads, speeds)) == pytest.approx(min(map(slowest, others)))
