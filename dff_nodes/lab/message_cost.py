# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a message costs over a cable, with frames of 1500 bytes, as on a network."""

from __future__ import annotations

from dff_nodes.lab.cgroup import Limits
from dff_nodes.lab.devices import Device
from dff_nodes.lab.lab import Lab
from dff_nodes.lab.network import LinkLimits
from dff_nodes.nodes.link_rate import Flow, measure_flow, sides_of
from dff_nodes.nodes.measuring_processes import RECEIVE, SEND, Place
from dff_nodes.nodes.message_cost import measure_message_cost
from dff_nodes.schedules.step_times import MessageTimes

CABLE_MBIT = 100.0


def measure_on_cable() -> MessageTimes:
    """
    Measure between two emulated devices.

    Through the loopback interface, which has frames of 64 kB, a message costs a tenth.

    :raises LabError: without root, or where there is no lab.
    :raises MeasurementError: if the processes come to no end.
    """
    with _cable(CABLE_MBIT) as lab:
        return measure_message_cost(_on(lab))


def measure_flow_on_cable(
    mbit: float,
    message_bytes: int,
    window: int,
    cpu: float | None = None,
    *,
    relayed: bool = False,
) -> Flow:
    """
    Measure messages under credit between emulated devices.

    They take more than their payload of the cable, for headers, for what the middleware sends
    again, and for the time in which a full cable loses frames and nobody sends. More yet between
    devices that are busy, and may use a share of a core only: what has arrived is acknowledged
    late then, and sent again meanwhile. And more where a device takes in and sends on at once, as
    every layer but the last does: of a cable of 100 Mbit/s 512 kB took 1.16 to 1.32 times their
    payload through such a device, 1.05 to 1.15 without.

    :param cpu: cores that each device may use, all of which it computes with.
    :param relayed: through a third device.
    :raises LabError: without root, or where there is no lab.
    :raises MeasurementError: if the processes come to no end.
    """
    with _cable(mbit, cpu, sides_of(relayed)) as lab:
        return measure_flow(
            message_bytes,
            window,
            _on(lab),
            link_mbit=mbit,
            busy=cpu is not None,
            relayed=relayed,
        )


def _cable(mbit: float, cpu: float | None = None, sides: tuple[str, ...] = (RECEIVE, SEND)) -> Lab:
    limits = Limits(cpu)
    devices = [Device(f'pi{place}', (side,), limits) for place, side in enumerate(sides)]
    return Lab(devices, LinkLimits(mbit))


def _on(lab: Lab) -> Place:
    return lambda side, command: lab.place(side, command, {})[0]
