# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What steps take on devices that may use a share of the processor only."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

from dff_nodes.lab import names
from dff_nodes.lab.cgroup import Limits
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.hierarchies import Hierarchies
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.measure_steps import StepMeasurement

ROUNDS = 12
ROUND_S = 0.6
"""of each, on the clock, all devices at once"""


def measure_shared_step(resolved: ResolvedRun, cpu: float, devices: int, nodes: int = 1) -> float:
    """
    Time a training step of all layers on devices that all compute at once.

    A process that has used its share is stopped until the next period and finds its caches cold,
    sooner where a device has several nodes that use it up together; and the devices share what
    this machine has one of: memory, caches, clock rate.

    :param cpu: cores that each device may use.
    :param devices: how many of them there are; no more than this machine has cores for.
    :param nodes: of each device, which part the layers among them; at most as many as layers.
    :returns: time on the clock, s, times the cores: what the step would take if a share of a core
        were just a slower one.
    :raises LabError: without root, or where there are no control groups.
    """
    if os.geteuid() != 0:
        raise LabError('a limit of the processor needs root')
    count = max(1, min(devices, int((os.cpu_count() or 1) / cpu)))
    layers = range(len(resolved.layers))
    parts = [
        layers[len(layers) * k // nodes : len(layers) * (k + 1) // nodes] for k in range(nodes)
    ]
    with ExitStack() as stack:
        groups = [_group(stack, place, cpu) for place in range(count)]
        ends = [_start(group, resolved, part) for group in groups for part in parts]
        try:
            found = [_round(ends) for _ in range(1 + ROUNDS)]
        except (EOFError, ConnectionError):
            raise LabError('the process that was to measure with the limit has ended') from None
    # In the first round some are still being loaded. The nodes of a device have equal parts of
    # its share, and each takes its layers' steps meanwhile.
    return cpu / nodes * statistics.mean(found[1:]) / count


def _group(stack: ExitStack, place: int, cpu: float) -> list[str]:
    """Make a device: the files through which a process joins it."""
    group = Hierarchies().group(f'{names.prefix()}-quota{place}')
    stack.callback(group.remove)
    group.create(Limits(cpu=cpu))
    return group.joining


def _start(joining: list[str], resolved: ResolvedRun, layers: range) -> Connection:
    """Start a node; give what to ask it through."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    inside = context.Process(target=_inside, args=(theirs, joining, resolved, layers), daemon=True)
    inside.start()
    theirs.close()
    return ours


def _round(ends: list[Connection]) -> float:
    """Let all measure at once: the sum of their times for a step of their layers, s."""
    for end in ends:
        end.send('measure')
    return sum(end.recv() for end in ends)


def _inside(
    connection: Connection, joining: list[str], resolved: ResolvedRun, layers: range
) -> None:
    """Join the group, and measure whenever asked until the group is removed."""
    for file in joining:
        Path(file).write_text(str(os.getpid()), encoding='ascii')
    steps = StepMeasurement(resolved).training_steps(layers)
    while connection.recv():
        connection.send(_seconds(steps))


def _seconds(steps: list[Callable[[], object]]) -> float:
    """Give the time of one after the other of these steps on the clock, s."""
    rounds, began = 0, time.monotonic()
    while time.monotonic() - began < ROUND_S:
        for step in steps:
            step()
        rounds += 1
    return (time.monotonic() - began) / rounds
