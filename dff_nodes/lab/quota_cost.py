# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What steps cost on a device that may use a share of the processor only."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from dff_nodes.lab import names
from dff_nodes.lab.cgroup import Limits
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.hierarchies import Hierarchies
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.measure_steps import StepMeasurement

ROUNDS = 15
"""seven gave 1.01 to 1.26 for one and the same on a machine that is shared with others"""
ROUND_S = 0.25
"""of processor time, at least"""


def measure_quota_cost(resolved: ResolvedRun, cpu: float) -> float:
    """
    Measure training steps of all layers with a limit and without, in turns.

    A process that has used its share is stopped until the next period, and others take its place
    in the caches meanwhile. In turns, because how fast a machine is changes from minute to minute.

    :param cpu: cores that the process with the limit may use.
    :returns: processor time with the limit over that without.
    :raises LabError: without root, or where there are no control groups.
    """
    if os.geteuid() != 0:
        raise LabError('a limit of the processor needs root')
    group = Hierarchies().group(f'{names.prefix()}-quota')
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    inside = context.Process(target=_inside, args=(theirs, group.joining, resolved), daemon=True)
    try:
        group.create(Limits(cpu=cpu))
        inside.start()
        theirs.close()
        outside = StepMeasurement(resolved).training_steps()
        return statistics.median(_ask(ours) / _round(outside) for _ in range(ROUNDS))
    except (EOFError, ConnectionError):
        raise LabError('the process that was to measure with the limit has ended') from None
    finally:
        group.remove()


def _ask(connection: Connection) -> float:
    connection.send('measure')
    return connection.recv()


def _inside(connection: Connection, joining: list[str], resolved: ResolvedRun) -> None:
    """Join the group, and measure whenever asked until the group is removed."""
    for file in joining:
        Path(file).write_text(str(os.getpid()), encoding='ascii')
    step = StepMeasurement(resolved).training_steps()
    while connection.recv():
        connection.send(_round(step))


def _round(step: Callable[[], None]) -> float:
    """Give the processor time of a step, s; unlike time on the clock, without being stopped."""
    steps, began = 0, time.process_time()
    while time.process_time() - began < ROUND_S:
        step()
        steps += 1
    return (time.process_time() - began) / steps
