# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The processor time of a message, between real processes on emulated devices."""

from __future__ import annotations

import pytest

from dff_nodes.lab.message_cost import measure_flow_on_cable, measure_on_cable
from dff_nodes.nodes.link_rate import Setting
from dff_nodes.nodes.measuring_processes import MeasurementError
from dff_nodes.nodes.message_cost import measure_message_cost

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures('nothing_left')]


@pytest.mark.usefixtures('lab_machine')
def test_messages_over_a_cable_take_time() -> None:
    cost = measure_on_cable()
    assert 0 < cost.message < 1
    assert 0 < cost.byte < 1e-3


@pytest.mark.usefixtures('lab_machine')
@pytest.mark.parametrize('relayed', [False, True])
@pytest.mark.parametrize('cpu', [None, 0.3])
def test_messages_take_more_of_a_cable_than_their_payload(
    cpu: float | None, relayed: bool
) -> None:
    flow = measure_flow_on_cable(200, 100_000, 4, cpu, relayed=relayed)
    assert flow.apart > 8 * 100_000 / 200e6
    assert flow.processor > 0


def test_a_slow_link_is_measured_with_fewer_messages() -> None:
    fast, slow = (Setting.on(mbit, 500_000, 4, busy=False, relayed=False) for mbit in (100.0, 1.0))
    assert (fast.first, fast.counted) == (10, 40)
    assert (slow.first, slow.counted) == (2, 8)
    crawling = Setting.on(0.01, 500_000, 4, busy=False, relayed=False)
    assert (crawling.first, crawling.counted) == (2, 4)
    assert crawling.limit_s > 6 * 400


@pytest.mark.slow
@pytest.mark.usefixtures('lab_machine')
def test_a_link_of_one_megabit_is_measured() -> None:
    # Four of them fit into the queue of the link: what does not is dropped, and after 20 s of that
    # the middleware takes the other side for gone.
    flow = measure_flow_on_cable(1, 100_000, 4, relayed=True)
    assert flow.apart > 8 * 100_000 / 1e6


def test_a_side_that_fails_is_an_error_and_nothing_is_left() -> None:
    with pytest.raises(MeasurementError, match='no such side'):
        measure_message_cost(lambda side, command: ['sh', '-c', 'echo no such side >&2; exit 3'])
