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


def measure_shared_step(resolved: ResolvedRun, cpu: float, devices: int) -> float:
    """
    Time a training step of all layers on devices that all compute at once.

    A process that has used its share is stopped until the next period and finds its caches cold,
    and the devices share what this machine has one of: memory, caches, clock rate.

    :param cpu: cores that each device may use.
    :param devices: how many of them there are; no more than this machine has cores for.
    :returns: time on the clock, s, times the cores: what the step would take if a share of a core
        were just a slower one.
    :raises LabError: without root, or where there are no control groups.
    """
    if os.geteuid() != 0:
        raise LabError('a limit of the processor needs root')
    count = max(1, min(devices, int((os.cpu_count() or 1) / cpu)))
    with ExitStack() as stack:
        ends = [_device(stack, place, cpu, resolved) for place in range(count)]
        try:
            found = [_round(ends) for _ in range(1 + ROUNDS)]
        except (EOFError, ConnectionError):
            raise LabError('the process that was to measure with the limit has ended') from None
    # In the first round some are still being loaded.
    return cpu * statistics.mean(found[1:])


def _device(stack: ExitStack, place: int, cpu: float, resolved: ResolvedRun) -> Connection:
    """Start a device; give what to ask it through."""
    group = Hierarchies().group(f'{names.prefix()}-quota{place}')
    stack.callback(group.remove)
    group.create(Limits(cpu=cpu))
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    inside = context.Process(target=_inside, args=(theirs, group.joining, resolved), daemon=True)
    inside.start()
    theirs.close()
    return ours


def _round(ends: list[Connection]) -> float:
    """Let all measure at once: the mean time of a step, s."""
    for end in ends:
        end.send('measure')
    return statistics.mean(end.recv() for end in ends)


def _inside(connection: Connection, joining: list[str], resolved: ResolvedRun) -> None:
    """Join the group, and measure whenever asked until the group is removed."""
    for file in joining:
        Path(file).write_text(str(os.getpid()), encoding='ascii')
    step = StepMeasurement(resolved).training_steps()
    while connection.recv():
        connection.send(_seconds(step))


def _seconds(step: Callable[[], None]) -> float:
    """Give the time of a step on the clock, s."""
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < ROUND_S:
        step()
        steps += 1
    return (time.monotonic() - began) / steps
