# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is said where the lab cannot work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dff_nodes.cli.__main__ import main
from dff_nodes.lab.commands import LabError, require_tools, run
from dff_nodes.lab.loss import install_loss
from dff_nodes.lab.names import is_left_over, prefix


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    monkeypatch.setattr(shutil, 'which', lambda tool: None if tool == 'tc' else tool)
    with pytest.raises(LabError) as caught:
        require_tools()
    assert 'root' in str(caught.value) and 'sudo' in str(caught.value)
    assert 'tc in the PATH' in str(caught.value) and 'apt install iproute2' in str(caught.value)
    assert 'unshare' not in str(caught.value)


def test_without_root_the_command_fails_and_leaves_no_run_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    runs = tmp_path / 'runs'
    assert main(['lab', '--runs', str(runs)]) == 1
    assert 'root' in capsys.readouterr().err
    assert not runs.exists()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--memory', '600'], '--memory'),
        (['--devices', '9'], 'lab.devices'),
        (['--chaos', 'every=3s faults=flood'], 'flood'),
        (['--reference', '--chaos', 'seed=1'], '--chaos'),
    ],
)
def test_a_wrong_request_is_named_before_anything_is_made(
    words: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(['lab', *words]) == 2
    assert said in capsys.readouterr().err


def test_every_way_to_lose_frames_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, 'which', lambda tool: None)
    with pytest.raises(LabError) as caught:
        install_loss('nowhere', 'eth0', 0.01)
    for tool in ('nft', 'iptables', 'tc'):
        assert f'{tool} is not installed' in str(caught.value)


def test_a_tool_that_fails_says_why() -> None:
    with pytest.raises(LabError, match='`sh -c .*` failed: no such thing'):
        run('sh', '-c', 'echo no such thing >&2; exit 3')


def test_names_tell_whether_their_lab_lives() -> None:
    assert not is_left_over(f'{prefix()}-switch')
    assert is_left_over(f'dfflab-{os.getpid()}-12345-switch'), 'the same number, another process'
    assert not is_left_over('dfflab') and not is_left_over('docker0')
