# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs the system's tools, and says which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = {'ip': 'iproute2', 'tc': 'iproute2', 'unshare': 'util-linux', 'mount': 'mount'}
"""tools that every lab needs, and where Debian and Ubuntu have them"""


class LabError(RuntimeError):
    """What the lab needs and this machine does not give; the message says what."""


def require_tools() -> None:
    """
    Find out whether this process may make devices.

    :raises LabError: naming all that is missing.
    """
    missing = []
    if os.geteuid() != 0:
        missing.append('root, to make network namespaces and cgroups: sudo ./dff lab')
    for tool, package in PACKAGES.items():
        if shutil.which(tool) is None:
            missing.append(f'{tool} in the PATH, on Debian and Ubuntu: apt install {package}')
    if missing:
        raise LabError(f'the lab needs {"; ".join(missing)}')


def run(*command: str) -> str:
    """
    Run a tool to its end; give what it printed.

    :raises LabError: with what the tool said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f'{command[0]} cannot be run: {error}') from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f'exit status {done.returncode}'
        raise LabError(f'`{" ".join(command)}` failed: {said}')
    return done.stdout
