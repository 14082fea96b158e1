# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Control groups of version 1: a hierarchy for each controller."""

from __future__ import annotations

from pathlib import Path

from dff_nodes.lab.cgroup import Cgroup, Limits, Usage, read_counter, write_setting

CONTROLLERS = ('cpu', 'cpuacct', 'memory')


class CgroupV1(Cgroup):
    """
    A group in the hierarchies of cpu, cpuacct and memory.

    :param roots: controller to the folder where its hierarchy is mounted; some share one.
    """

    def __init__(self, roots: dict[str, Path], name: str) -> None:
        self._at = {controller: roots[controller] / name for controller in CONTROLLERS}
        super().__init__(list(dict.fromkeys(self._at.values())))

    def limit(self, limits: Limits) -> None:
        """Set the limits; memory includes swap."""
        if limits.quota_and_period_us is not None:
            quota, period = limits.quota_and_period_us
            write_setting(self._at['cpu'] / 'cpu.cfs_period_us', str(period))
            write_setting(self._at['cpu'] / 'cpu.cfs_quota_us', str(quota))
        if limits.memory_bytes is not None:
            memory = self._at['memory']
            write_setting(memory / 'memory.limit_in_bytes', str(limits.memory_bytes))
            with_swap = memory / 'memory.memsw.limit_in_bytes'
            if with_swap.exists():
                write_setting(with_swap, str(limits.memory_bytes))
            else:
                # A kernel that does not count swap can at least be told to use none.
                write_setting(memory / 'memory.swappiness', '0')

    def usage(self) -> Usage:
        """Read what was used so far."""
        memory = self._at['memory']
        return Usage(
            peak_memory_mb=read_counter(memory / 'memory.max_usage_in_bytes') / 1e6,
            cpu_seconds=read_counter(self._at['cpuacct'] / 'cpuacct.usage') / 1e9,
            throttled=read_counter(self._at['cpu'] / 'cpu.stat', 'nr_throttled'),
            out_of_memory_kills=read_counter(memory / 'memory.oom_control', 'oom_kill'),
        )
