# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What steps cost with a share of the processor, in a real control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.lab import quota_cost
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.hierarchies import Hierarchies
from dff_nodes.lab.quota_cost import measure_shared_step
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.resolve import ResolvedRun, resolve

pytestmark = pytest.mark.usefixtures('nothing_left')


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> ResolvedRun:
    monkeypatch.setattr(quota_cost, 'ROUNDS', 1)
    config = load_config(None, ['network=[{units: 20}, {units: 20}]'])
    return resolve(config, read_facts(config.data))


@pytest.mark.parametrize(('devices', 'nodes'), [(1, 1), (3, 1), (2, 2)])
def test_steps_are_timed_on_devices_at_once(small: ResolvedRun, devices: int, nodes: int) -> None:
    assert 0 < measure_shared_step(small, 0.1, devices, nodes) < 5


def test_without_control_groups_it_is_an_error(
    small: ResolvedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / 'mounts').write_text('proc /proc proc rw 0 0\n')
    none = tmp_path / 'mounts'
    monkeypatch.setattr(quota_cost, 'Hierarchies', lambda: Hierarchies(none))
    with pytest.raises(LabError, match='control groups'):
        measure_shared_step(small, 0.1, 1)


def test_a_process_that_ends_inside_is_an_error(
    small: ResolvedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It cannot join: the file of the group is none.
    monkeypatch.setattr('dff_nodes.lab.cgroup.Cgroup.joining', ['/nowhere/cgroup.procs'])
    with pytest.raises(LabError, match='has ended'):
        measure_shared_step(small, 0.1, 1)
