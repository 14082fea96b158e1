# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Linters are tests: ruff checks and formats all Python here, and rooms import one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('dff_nodes', 'test', 'bench', 'launch', 'setup.py')
ROS = ('rclpy', 'dff_msgs', 'launch', 'launch_ros', 'diagnostic_msgs', 'builtin_interfaces')
ROOMS = {
    'learning': ('runs', 'seeds'),
    'data': ('runs', 'seeds'),
    'stream': ('learning', 'runs'),
    'runs': ('data',),
    'schedules': ('learning', 'data', 'stream', 'runs', 'seeds'),
    'nodes': ('schedules', 'learning', 'data', 'stream', 'runs'),
    'lab': ('nodes', 'schedules', 'runs', 'data'),
}
"""what a room may import besides itself"""


@pytest.mark.parametrize('command', [('check',), ('format', '--check')])
def test_ruff(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', *command, *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or '')
    return found


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    for path in (ROOT / 'dff_nodes' / room).rglob('*.py'):
        for name in imports(path):
            parts = name.split('.')
            if parts[0] == 'dff_nodes' and len(parts) > 1:
                assert parts[1] in (room, *ROOMS[room]), f'{path} imports {name}'
            if room not in ('nodes', 'lab'):
                assert parts[0] not in ROS, f'{path} imports {name}'


def test_every_file_carries_the_licence() -> None:
    for folder in ('dff_nodes', 'test', 'bench', 'launch'):
        for path in (ROOT / folder).rglob('*.py'):
            assert 'SPDX-License-Identifier: Apache-2.0' in path.read_text(encoding='utf-8'), path
