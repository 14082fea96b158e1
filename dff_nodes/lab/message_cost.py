# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The processor time of a message over a cable: frames of 1500 bytes, as on a network."""

from __future__ import annotations

from dff_nodes.lab.devices import Device
from dff_nodes.lab.lab import Lab
from dff_nodes.lab.network import LinkLimits
from dff_nodes.nodes.message_cost import SIDES, MessageCost, measure_message_cost

CABLE_MBIT = 100.0


def measure_on_cable() -> MessageCost:
    """
    Measure between two emulated devices.

    Through the loopback interface, which has frames of 64 kB, a message costs a tenth.

    :raises LabError: without root, or where there is no lab.
    :raises MessageCostError: if the processes come to no end.
    """
    devices = [Device(f'pi{place}', (side,)) for place, side in enumerate(SIDES)]
    with Lab(devices, LinkLimits(CABLE_MBIT)) as lab:
        return measure_message_cost(lambda side, command: lab.place(side, command, {})[0])
