# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The two ROS packages agree with each other and with the Python package."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import dff_nodes

ROOT = Path(__file__).resolve().parents[1]


def field(path, name):
    """Return a field of a package.xml."""
    return ElementTree.parse(ROOT / path).findtext(name)


def test_the_version_is_the_same_everywhere():
    setup = re.search(r"version='([^']+)'", (ROOT / 'setup.py').read_text())[1]
    assert {
        setup,
        dff_nodes.__version__,
        field('package.xml', 'version'),
        field('msg/package.xml', 'version'),
    } == {setup}


@pytest.mark.parametrize('path', ['CHANGELOG.rst', 'msg/CHANGELOG.rst'])
def test_the_changelog_has_this_version(path):
    assert f'\n{dff_nodes.__version__} (' in (ROOT / path).read_text()


def test_all_messages_are_built():
    built = re.search(r'set\(interfaces ([^)]+)\)', (ROOT / 'msg/CMakeLists.txt').read_text())[1]
    assert sorted(built.split()) == sorted(path.stem for path in (ROOT / 'msg').glob('*.msg'))


@pytest.mark.slow
@pytest.mark.ros
def test_a_plain_colcon_build_builds_both_packages(tmp_path):
    names = [
        'package.xml',
        'setup.py',
        'setup.cfg',
        'resource',
        'launch',
        'config',
        'msg',
        'dff_nodes',
        'colcon_defaults.yaml',
        'pyproject.toml',
    ]
    workspace = tmp_path / 'workspace'
    workspace.mkdir()
    subprocess.run(
        ['cp', '-r', *(ROOT / name for name in names if (ROOT / name).exists()), workspace],
        check=True,
    )
    # Only ROS 2 itself: what is built must not be found in the environment of the tests.
    environment = {**os.environ, 'COLCON_LOG_LEVEL': '40'}
    for name in ('PYTHONPATH', 'AMENT_PREFIX_PATH', 'LD_LIBRARY_PATH'):
        environment[name] = without_ours(os.environ.get(name, ''))
    done = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build'],
        cwd=workspace,
        env=environment,
        capture_output=True,
        encoding='utf-8',
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    code = 'import dff_nodes, dff_msgs.msg; print(dff_nodes.__file__, dff_msgs.__file__)'
    out = subprocess.run(
        [
            'bash',
            '-c',
            'source "$0/install/local_setup.bash" && python -c "$1" && '
            'head -1 "$0/install/dff_nodes/lib/dff_nodes/layer_node"',
            workspace,
            code,
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding='utf-8',
        check=True,
    ).stdout
    assert out.count(str(workspace / 'install')) == 2
    assert out.endswith('#!/usr/bin/env python3\n')


def without_ours(paths):
    """Return a path variable without this repository and the messages built for it."""
    installed = os.environ.get('DFF_ACTIVE', '-') + '/install'
    return os.pathsep.join(
        path
        for path in paths.split(os.pathsep)
        if path != str(ROOT) and path != installed and not path.startswith(installed + '/')
    )
