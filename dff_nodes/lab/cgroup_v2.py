# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Control groups of version 2: one hierarchy for all controllers."""

from __future__ import annotations

from pathlib import Path

from dff_nodes.lab.cgroup import Cgroup, Limits, Usage, read_counter, write_setting

CONTROLLERS = ('cpu', 'memory')


class CgroupV2(Cgroup):
    """
    A group at the top of the unified hierarchy.

    :param root: the folder where the hierarchy is mounted.
    """

    def __init__(self, root: Path, name: str) -> None:
        super().__init__([root / name])
        self._root, self._folder = root, root / name

    def limit(self, limits: Limits) -> None:
        """Set the limits; there is no swap."""
        if limits.quota_and_period_us is not None:
            quota, period = limits.quota_and_period_us
            write_setting(self._folder / 'cpu.max', f'{quota} {period}')
        if limits.memory_bytes is not None:
            write_setting(self._folder / 'memory.max', str(limits.memory_bytes))
            swap = self._folder / 'memory.swap.max'
            if swap.exists():  # not with a kernel that has no swap at all
                write_setting(swap, '0')

    def create(self, limits: Limits) -> None:
        """Make the group; its controllers are switched on at the top of the hierarchy."""
        control = self._root / 'cgroup.subtree_control'
        missing = set(CONTROLLERS) - set(control.read_text(encoding='ascii').split())
        for controller in sorted(missing):
            write_setting(control, f'+{controller}')
        super().create(limits)

    def usage(self) -> Usage:
        """Read what was used so far."""
        return Usage(
            peak_memory_mb=read_counter(self._folder / 'memory.peak') / 1e6,
            cpu_seconds=read_counter(self._folder / 'cpu.stat', 'usage_usec') / 1e6,
            throttled=read_counter(self._folder / 'cpu.stat', 'nr_throttled'),
            out_of_memory_kills=read_counter(self._folder / 'memory.events', 'oom_kill'),
        )
