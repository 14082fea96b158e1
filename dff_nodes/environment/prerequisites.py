# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What only the owner of the machine can install: Python's own parts and a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dff_nodes.environment.process import MissingPrerequisite
from dff_nodes.environment.ros import os_release

FREE_BYTES = 3 * 10**9
CHECK_PYTHON = """
import importlib.util, os, sys, sysconfig
print('%d.%d' % sys.version_info[:2])
print('venv' if all(map(importlib.util.find_spec, ('venv', 'ensurepip'))) else '-')
header = os.path.join(sysconfig.get_path('include'), 'Python.h')
print('headers' if os.path.exists(header) else '-')
"""
# What is missing -> the package that has it, by family of distributions. {v}: the Python version.
PACKAGES = {
    'debian': {
        'venv': 'python{v}-venv',
        'headers': 'python{v}-dev',
        'compiler': 'build-essential',
    },
    'fedora': {'venv': 'python{v}', 'headers': 'python{v}-devel', 'compiler': 'gcc gcc-c++ make'},
    'arch': {'venv': 'python', 'headers': 'python', 'compiler': 'base-devel'},
}
INSTALL = {
    'debian': 'sudo apt update && sudo apt install -y',
    'fedora': 'sudo dnf install -y',
    'arch': 'sudo pacman -S --needed',
}
MISSING = {
    'venv': "Python {v}'s modules venv and ensurepip (they make virtual environments)",
    'headers': "Python {v}'s header Python.h (the ROS 2 messages are compiled against it)",
    'compiler': 'a C and C++ compiler and make (cc, c++, make: they compile the ROS 2 messages)',
}


def check(python: str, home: Path) -> str:
    """Check the machine for building an environment on `python`; returns the Python version."""
    check_home(home)
    version, missing = missing_parts(python)
    if missing:
        raise MissingPrerequisite(missing_message(version, missing))
    return version


def check_home(home: Path) -> None:
    """Check that the folder of the environment can be written and has room."""
    if os.pathsep in str(home):
        raise MissingPrerequisite(
            f'The folder {home} has a "{os.pathsep}" in its name, which no virtual environment '
            'can. Move the repository, or set DFF_HOME to another folder.'
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        writable = os.access(home, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise MissingPrerequisite(
            f'The folder {home} cannot be written. Set DFF_HOME to a folder '
            'of yours, for example: DFF_HOME=~/.dff ./dff doctor'
        )
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES and not (home / 'stamp').exists():
        raise MissingPrerequisite(
            f'{home} has {free / 1e9:.1f} GB free; the environment needs {FREE_BYTES / 1e9:.0f} '
            'GB. Make room, or set DFF_HOME to a folder on a larger disk.'
        )


def missing_parts(python: str) -> tuple[str, list[str]]:
    """Return the version of `python` and which of MISSING the machine lacks."""
    # -I: a PYTHONPATH for another Python must not answer for this one.
    answer = subprocess.run(
        [python, '-I', '-c', CHECK_PYTHON], check=True, capture_output=True, encoding='utf-8'
    ).stdout.split()
    version, missing = answer[0], []
    if answer[1] != 'venv':
        missing.append('venv')
    if answer[2] != 'headers':
        missing.append('headers')
    if not has_compiler():
        missing.append('compiler')
    return version, missing


def has_compiler() -> bool:
    """Whether C and C++ can be compiled and built here."""
    c_compiler = os.environ.get('CC', 'cc').split()[0]
    cxx_compiler = os.environ.get('CXX', 'c++').split()[0]
    return all(map(shutil.which, (c_compiler, cxx_compiler))) and any(
        map(shutil.which, ('make', 'gmake', 'ninja'))
    )


def missing_message(version: str, missing: list[str]) -> str:
    """Say what is missing, and the command that installs it."""
    lines = ['This machine lacks:']
    lines += ['  - ' + MISSING[part].format(v=version) for part in missing]
    family = distribution_family()
    if family:
        packages = ' '.join(PACKAGES[family][part].format(v=version) for part in missing)
        lines += [
            'Install it with this command, then start again:',
            f'    {INSTALL[family]} {packages}',
        ]
    else:
        lines.append('Install it with the package manager of this machine, then start again.')
    return '\n'.join(lines)


def distribution_family() -> str | None:
    """Return 'debian', 'fedora', 'arch', or None for others."""
    release = os_release()
    names = f'{release.get("ID", "")} {release.get("ID_LIKE", "")}'.split()
    return next(
        (name for name in names if name in PACKAGES),
        'debian' if 'ubuntu' in names else 'fedora' if 'rhel' in names else None,
    )


def check_own_version() -> None:
    """Check the Python that the set-up itself runs with."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this file runs before anything is chosen
        raise MissingPrerequisite(
            f'dff_nodes needs Python 3.10 or newer; {sys.executable} is '
            f'{sys.version.split()[0]}. Name another one: DFF_PYTHON=/usr/bin/python3.12 ./dff'
        )
