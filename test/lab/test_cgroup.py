# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Control groups of both versions, on a tree of ordinary files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dff_nodes.lab.cgroup import Limits, Usage
from dff_nodes.lab.cgroup_v1 import CgroupV1
from dff_nodes.lab.cgroup_v2 import CgroupV2
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.hierarchies import Hierarchies

LIMITS = Limits(cpu=0.4, memory_mb=600)


def mounts(folder: Path, *lines: str) -> Path:
    file = folder / 'mounts'
    file.write_text(''.join(f'{line}\n' for line in lines))
    return file


def v1_tree(folder: Path) -> Path:
    """Make the hierarchies as systemd mounts them: cpu and cpuacct are one."""
    for name in ('cpu,cpuacct', 'memory'):
        (folder / name).mkdir()
    return mounts(
        folder,
        'proc /proc proc rw 0 0',
        f'cgroup {folder}/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0',
        f'cgroup {folder}/memory cgroup rw,memory 0 0',
    )


def v2_tree(folder: Path, controllers: str = 'cpuset cpu io memory pids') -> Path:
    (folder / 'cgroup.controllers').write_text(controllers)
    (folder / 'cgroup.subtree_control').write_text('memory')
    return mounts(folder, f'cgroup2 {folder} cgroup2 rw,nsdelegate 0 0')


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_v1_writes_its_limits_and_leaves_no_way_into_swap(tmp_path: Path) -> None:
    group = Hierarchies(v1_tree(tmp_path)).group('dfflab-1-2-0')
    assert isinstance(group, CgroupV1)
    group.create(LIMITS)
    folders = [tmp_path / name / 'dfflab-1-2-0' for name in ('cpu,cpuacct', 'memory')]
    assert group.joining == [str(folder / 'cgroup.procs') for folder in folders]
    assert contents(folders[0]) == {'cpu.cfs_period_us': '10000', 'cpu.cfs_quota_us': '4000'}
    assert contents(folders[1]) == {
        'memory.limit_in_bytes': '600000000',
        'memory.swappiness': '0',
    }
    (folders[1] / 'memory.memsw.limit_in_bytes').write_text('')
    group.limit(LIMITS)
    assert contents(folders[1])['memory.memsw.limit_in_bytes'] == '600000000'


def test_v1_reads_what_was_used(tmp_path: Path) -> None:
    group = Hierarchies(v1_tree(tmp_path)).group('dfflab-1-2-0')
    group.create(Limits())
    processor, memory = group.folders
    (processor / 'cpuacct.usage').write_text('2500000000\n')
    (processor / 'cpu.stat').write_text('nr_periods 9\nnr_throttled 7\n')
    (memory / 'memory.max_usage_in_bytes').write_text('123000000\n')
    (memory / 'memory.oom_control').write_text('oom_kill_disable 0\nunder_oom 0\noom_kill 1\n')
    assert group.usage() == Usage(123.0, 2.5, 7, 1)


def test_v2_switches_its_controllers_on_and_writes_its_limits(tmp_path: Path) -> None:
    group = Hierarchies(v2_tree(tmp_path)).group('dfflab-1-2-0')
    assert isinstance(group, CgroupV2)
    group.create(LIMITS)
    assert (tmp_path / 'cgroup.subtree_control').read_text() == '+cpu'
    folder = tmp_path / 'dfflab-1-2-0'
    assert group.joining == [str(folder / 'cgroup.procs')]
    assert contents(folder) == {'cpu.max': '4000 10000', 'memory.max': '600000000'}
    (folder / 'memory.swap.max').write_text('max')
    group.limit(LIMITS)
    assert contents(folder)['memory.swap.max'] == '0'


def test_v2_reads_what_was_used(tmp_path: Path) -> None:
    group = Hierarchies(v2_tree(tmp_path)).group('dfflab-1-2-0')
    group.create(Limits())
    folder = tmp_path / 'dfflab-1-2-0'
    (folder / 'cpu.stat').write_text('usage_usec 2500000\nnr_periods 9\nnr_throttled 7\n')
    (folder / 'memory.peak').write_text('123000000\n')
    (folder / 'memory.events').write_text('max 3\noom 1\noom_kill 1\n')
    assert group.usage() == Usage(123.0, 2.5, 7, 1)


def test_v1_is_taken_where_v2_lacks_the_controllers(tmp_path: Path) -> None:
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
    lines = (
        v1_tree(tmp_path / 'one').read_text() + v2_tree(tmp_path / 'two', 'hugetlb').read_text()
    )
    group = Hierarchies(mounts(tmp_path, *lines.splitlines())).group('dfflab-1-2-0')
    assert isinstance(group, CgroupV1)


def test_a_machine_without_a_memory_controller_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match='cgroup2 with the controllers cpu and memory'):
        Hierarchies(v2_tree(tmp_path, 'cpu io pids'))


def test_short_turns_are_no_shorter_than_the_kernel_takes() -> None:
    assert Limits(cpu=2).quota_and_period_us == (20_000, 10_000)
    assert Limits(cpu=0.01).quota_and_period_us == (1000, 100_000)
    assert Limits().quota_and_period_us is None


def test_only_groups_of_labs_that_are_gone_are_left_over(tmp_path: Path) -> None:
    hierarchies = Hierarchies(v2_tree(tmp_path))
    for name in ('dfflab-4194999-77-0', 'dfflab-1-x', 'other-4194999-77-0'):
        (tmp_path / name).mkdir()
    assert hierarchies.left_over() == ['dfflab-4194999-77-0']
