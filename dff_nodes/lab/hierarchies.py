# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Where this machine has its control groups, and in which version."""

from __future__ import annotations

from pathlib import Path

from dff_nodes.lab import cgroup_v1, cgroup_v2
from dff_nodes.lab.cgroup import Cgroup
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.names import is_left_over

MOUNTS = Path('/proc/mounts')


class Hierarchies:
    """
    The control groups of this machine.

    :param mounts: file that tells what is mounted where.
    :raises LabError: if there are none that limit processor and memory.
    """

    def __init__(self, mounts: Path = MOUNTS) -> None:
        self._v1: dict[str, Path] = {}
        self._v2: Path | None = None
        for line in mounts.read_text(encoding='utf-8').splitlines():
            _, folder, kind, options, *_ = line.split()
            if kind == 'cgroup':
                for controller in set(options.split(',')) & set(cgroup_v1.CONTROLLERS):
                    self._v1.setdefault(controller, Path(folder))
            elif kind == 'cgroup2' and _has_controllers(Path(folder)):
                self._v2 = Path(folder)
        if self._v2 is None and len(self._v1) < len(cgroup_v1.CONTROLLERS):
            raise LabError(
                'the lab needs control groups that limit processor and memory, and '
                f'{mounts} shows none: neither cgroup2 with the controllers cpu and memory, nor '
                'cgroup (v1) for cpu, cpuacct and memory. On a Raspberry Pi, add '
                'cgroup_enable=memory to /boot/firmware/cmdline.txt and restart it'
            )

    def group(self, name: str) -> Cgroup:
        """Give the group of this name, which may not exist yet."""
        if self._v2 is not None:
            return cgroup_v2.CgroupV2(self._v2, name)
        return cgroup_v1.CgroupV1(self._v1, name)

    def left_over(self) -> list[str]:
        """Name the groups of labs that are gone."""
        roots = [self._v2] if self._v2 is not None else self._v1.values()
        found = {path.name for root in roots for path in root.glob('dfflab-*')}
        return sorted(name for name in found if is_left_over(name))


def _has_controllers(folder: Path) -> bool:
    try:
        known = (folder / 'cgroup.controllers').read_text(encoding='ascii').split()
    except OSError:
        return False
    return set(cgroup_v2.CONTROLLERS) <= set(known)
