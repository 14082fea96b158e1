# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The variables that a process of dff_nodes needs, and the shell file that sets them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from dff_nodes.environment.marks import write_whole
from dff_nodes.environment.place import Place
from dff_nodes.environment.ros import Ros
from dff_nodes.environment.variables import PATH_VARIABLES, PLAIN_VARIABLES


def variables(place: Place, ros: Ros) -> dict[str, str]:
    """Return every variable to set; those in PATH_VARIABLES go before what is there."""
    paths: dict[str, list[Path]] = {
        'PATH': [place.venv / 'bin'],
        'AMENT_PREFIX_PATH': [place.install],
        'PYTHONPATH': [place.root, *messages_folders(place)],
        'LD_LIBRARY_PATH': [place.install / 'lib'],
    }
    plain = {'VIRTUAL_ENV': str(place.venv), 'DFF_ACTIVE': str(place.home)}
    if ros.is_system:
        plain.update(
            {name: ros.variables[name] for name in PLAIN_VARIABLES if name in ros.variables}
        )
    else:
        paths['AMENT_PREFIX_PATH'].append(place.venv)
        paths['LD_LIBRARY_PATH'] += wheel_libraries(place)
        plain.update(ROS_DISTRO=ros.distro, ROS_VERSION='2', ROS_PYTHON_VERSION='3')
        # The libraries' path is prepared, so Python need not start itself a second time.
        plain['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
    joined = {name: os.pathsep.join(map(str, folders)) for name, folders in paths.items()}
    if ros.is_system:
        joined = {
            name: os.pathsep.join(filter(None, (joined.get(name), ros.variables.get(name))))
            for name in PATH_VARIABLES
            if joined.get(name) or ros.variables.get(name)
        }
    return {**joined, **plain}


def messages_folders(place: Place) -> list[Path]:
    """Return the folders that Python imports dff_msgs from; none before it is built."""
    # lib/python3.12/site-packages, or local/lib/python3.10/dist-packages on Debian's Python.
    found = place.install.glob('**/python3*/*-packages/dff_msgs/__init__.py')
    return sorted(path.parents[1] for path in found)


def wheel_libraries(place: Place) -> list[Path]:
    """Return the folders of the shared libraries that the ROS 2 wheels bring."""
    return [place.venv / 'lib', *sorted(place.venv.glob('lib/python3*/site-packages/ros_*.libs'))]


def write_env_file(path: Path, to_set: Mapping[str, str]) -> None:
    """Write the shell file; loading it twice is the same as loading it once."""
    lines = ["# Written by dff's set-up. Load it with: source " + shlex.quote(str(path))]
    lines += [shell_line(name, value) for name, value in to_set.items()]
    write_whole(path, '\n'.join(lines) + '\n')


def shell_line(name: str, value: str) -> str:
    """Return the shell command that sets one variable."""
    quoted = shlex.quote(value)
    if name not in PATH_VARIABLES:
        return f'export {name}={quoted}'
    return (
        f'case ":${{{name}:-}}:" in :{quoted}:*) ;; '
        f'*) export {name}={quoted}"${{{name}:+:${name}}}" ;; esac'
    )
