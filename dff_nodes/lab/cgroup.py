# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Limits of a device's processor and memory, by the kernel's control groups (v1 and v2)."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from dff_nodes.lab.commands import LabError

SHORTEST_PERIOD_US = 10_000
"""a device gets its share of the processor in turns: short ones are like a slower processor"""
SHORTEST_QUOTA_US = 1000
"""the kernel takes none shorter"""
EMPTY_S = 10.0


@dataclass(frozen=True)
class Limits:
    """What a device has; None is all of this machine."""

    cpu: float | None = None
    """cores"""
    memory_mb: float | None = None

    @property
    def memory_bytes(self) -> int | None:
        """Memory in bytes."""
        return None if self.memory_mb is None else int(self.memory_mb * 1e6)

    @property
    def quota_and_period_us(self) -> tuple[int, int] | None:
        """Time on the processor in each period, both in microseconds."""
        if self.cpu is None:
            return None
        period = max(SHORTEST_PERIOD_US, round(SHORTEST_QUOTA_US / self.cpu))
        return round(period * self.cpu), period


@dataclass(frozen=True)
class Usage:
    """What the processes of a device used."""

    peak_memory_mb: float
    """with the files that the kernel keeps in memory for them"""
    cpu_seconds: float
    throttled: int
    """periods in which the processor's limit stopped them"""
    out_of_memory_kills: int


class Cgroup(ABC):
    """
    One control group, in all hierarchies that are needed for it.

    :param folders: of the group, one in each hierarchy.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    @abstractmethod
    def limit(self, limits: Limits) -> None:
        """Set the limits."""

    @abstractmethod
    def usage(self) -> Usage:
        """Read what was used so far."""

    def create(self, limits: Limits) -> None:
        """Make the group, with its limits in force before a process joins it."""
        for folder in self.folders:
            try:
                folder.mkdir()
            except OSError as error:
                raise LabError(f'the cgroup {folder} cannot be made: {error}') from error
        self.limit(limits)

    @property
    def joining(self) -> list[str]:
        """Files into which a process writes its number to join."""
        return [str(folder / 'cgroup.procs') for folder in self.folders]

    def remove(self) -> None:
        """Kill the processes that are still inside, and remove the group."""
        limit = time.monotonic() + EMPTY_S
        left = [folder for folder in self.folders if folder.is_dir()]
        while left:
            for folder in left:
                _kill_inside(folder)
            left = [folder for folder in left if not _removed(folder)]
            if left and time.monotonic() > limit:
                raise LabError(f'the cgroup {left[0]} cannot be removed: it still has processes')
            time.sleep(0.01 if left else 0)


def _kill_inside(folder: Path) -> None:
    try:
        inside = (folder / 'cgroup.procs').read_text(encoding='ascii').split()
    except FileNotFoundError:
        return
    for pid in inside:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        # Busy: a process that was killed takes a moment to go.
        return False
    return True


def write_setting(file: Path, value: str) -> None:
    """Write one setting of a group."""
    try:
        file.write_text(value, encoding='ascii')
    except OSError as error:
        raise LabError(f'{file} does not take {value}: {error}') from error


def read_counter(file: Path, key: str | None = None) -> int:
    """Read a file of one number, or the number behind a key; 0 if this kernel has none."""
    try:
        lines = file.read_text(encoding='ascii').splitlines()
    except OSError:
        return 0
    if key is None:
        return int(lines[0])
    return next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)
