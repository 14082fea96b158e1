# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a message costs over a cable, with frames of 1500 bytes, as on a network."""

from __future__ import annotations

from dff_nodes.lab.devices import Device
from dff_nodes.lab.lab import Lab
from dff_nodes.lab.network import LinkLimits
from dff_nodes.nodes.link_rate import measure_rate
from dff_nodes.nodes.message_cost import MessageCost, measure_message_cost
from dff_nodes.nodes.two_processes import SIDES, Place

CABLE_MBIT = 100.0


def measure_on_cable() -> MessageCost:
    """
    Measure between two emulated devices.

    Through the loopback interface, which has frames of 64 kB, a message costs a tenth.

    :raises LabError: without root, or where there is no lab.
    :raises MeasurementError: if the processes come to no end.
    """
    with _cable(CABLE_MBIT) as lab:
        return measure_message_cost(_on(lab))


def measure_wire_share(mbit: float, message_bytes: int, window: int) -> float:
    """
    Measure how much of a cable's rate messages under credit take, for what they carry.

    Above 1 for headers, for what the middleware sends again, and for the time in which a full
    cable loses frames and nobody sends.

    :returns: time of a message over that of its payload at the cable's rate.
    :raises LabError: without root, or where there is no lab.
    :raises MeasurementError: if the processes come to no end.
    """
    with _cable(mbit) as lab:
        seconds = measure_rate(message_bytes, window, _on(lab))
    return seconds * mbit * 1e6 / (8 * message_bytes)


def _cable(mbit: float) -> Lab:
    devices = [Device(f'pi{place}', (side,)) for place, side in enumerate(SIDES)]
    return Lab(devices, LinkLimits(mbit))


def _on(lab: Lab) -> Place:
    return lambda side, command: lab.place(side, command, {})[0]
