# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Findings about ROS 2, Python and PyTorch; what may crash is tried in a child process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import mmap
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import dff_nodes
from dff_nodes.diagnosis.finding import OK, PROBLEM, WARNING, Finding
from dff_nodes.environment import check

ROS_PROBE = """
import json, rclpy
print(json.dumps({'rmw': rclpy.get_rmw_implementation_identifier(), 'file': rclpy.__file__}))
"""
MESSAGES_PROBE = """
import dff_msgs
from dff_msgs.msg import Credit
from rclpy.serialization import serialize_message
serialize_message(Credit())
print(dff_msgs.__file__)
"""
TORCHVISION_PROBE = """
import torchvision
print(torchvision.__version__)
"""
CUDA_PROBE = """
import torch
print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'no CUDA device',
      torch.get_num_threads())
"""
SET_UP_AGAIN = 'Remove the environment (.dff, or $DFF_HOME) and start ./dff again.'
# A library of each middleware, and words that are in it only when DDS security was built in.
SECURITY_MARKS = {
    'rmw_fastrtps_cpp': (('libfastdds.so', 'libfastrtps.so'), b'DDS:Auth:PKI-DH'),
    'rmw_fastrtps_dynamic_cpp': (('libfastdds.so', 'libfastrtps.so'), b'DDS:Auth:PKI-DH'),
    'rmw_cyclonedds_cpp': (('libdds_security_auth.so',), b''),
}


def dff_version() -> list[Finding]:
    """Look at this package."""
    return [Finding('dff_nodes', f'{dff_nodes.__version__}, {Path(dff_nodes.__file__).parent}')]


def python() -> list[Finding]:
    """Look at the interpreter."""
    value = f'{platform.python_version()}, {sys.executable}'
    if sys.version_info < (3, 10):  # noqa: UP036 - it looks at what is, not at what should be
        return [Finding('Python', value, PROBLEM, 'dff_nodes needs Python 3.10 or newer.')]
    return [Finding('Python', value)]


def ros() -> list[Finding]:
    """Look at ROS 2, its middleware and our messages."""
    distro = os.environ.get('ROS_DISTRO', 'unknown distro')
    done = check.run_check(sys.executable, ROS_PROBE)
    if done.returncode:
        value = f'{distro}: rclpy does not work: {check.last_lines(done, 2)}'
        return [Finding('ROS 2', value, PROBLEM, _advice())]
    answer = json.loads(done.stdout.splitlines()[-1])
    folder = Path(answer['file']).parent
    where = 'Python wheels' if folder.is_relative_to(sys.prefix) else str(folder)
    return [
        Finding('ROS 2', f'{distro}, {where}'),
        middleware(answer['rmw']),
        security(answer['rmw']),
        messages(),
        launch(),
    ]


def _advice() -> str:
    """Tell what helps an rclpy that does not work."""
    chosen = os.environ.get('RMW_IMPLEMENTATION')
    if chosen:
        return f'Unset RMW_IMPLEMENTATION, or install {chosen}.'
    return (
        'Source ROS 2 (source /opt/ros/DISTRO/setup.bash), or start through ./dff, which finds or '
        'installs it.'
    )


def middleware(rmw: str) -> Finding:
    """Look at the RMW implementation, and whether DDS security is in it."""
    secure = has_security(rmw, library_folders())
    said = {True: 'with', False: 'without', None: 'not known whether with'}[secure]
    value = f'{rmw}, {said} DDS security'
    wanted = os.environ.get('ROS_SECURITY_ENABLE', '').lower() == 'true'
    if wanted and secure is False:
        return Finding(
            'RMW',
            value,
            PROBLEM,
            'ROS_SECURITY_ENABLE is true, but this middleware was built without '
            'security: use an installed ROS 2, or unset ROS_SECURITY_ENABLE.',
        )
    return Finding('RMW', value)


def security(rmw: str) -> Finding:
    """Look at what keeps others out of a run: SROS2, and nothing else does."""
    if has_security(rmw, library_folders()) is False:
        return Finding(
            'SROS2',
            f'not possible: {rmw} was built without DDS security, so everybody on this network '
            'can take part in a run; an installed ROS 2 has it (doc/security.md)',
        )
    if os.environ.get('ROS_SECURITY_ENABLE', '').lower() != 'true':
        return Finding('SROS2', 'off: everybody on this network can take part in a run')
    strategy = os.environ.get('ROS_SECURITY_STRATEGY', '')
    if strategy != 'Enforce':
        return Finding(
            'SROS2',
            f'on, but ROS_SECURITY_STRATEGY is {strategy or "not set"}',
            WARNING,
            'A node without keys runs unprotected: export ROS_SECURITY_STRATEGY=Enforce',
        )
    return Finding('SROS2', 'on, enforced')


def has_security(rmw: str, folders: Iterable[Path]) -> bool | None:
    """Whether the middleware's library has DDS security; None when that cannot be told."""
    libraries, words = SECURITY_MARKS.get(rmw, ((), b''))
    if not libraries:
        return None
    found = [
        folder / name for folder in folders for name in libraries if (folder / name).is_file()
    ]
    if not words:
        return bool(found)
    return contains(found[0], words) if found else None


def contains(path: Path, words: bytes) -> bool:
    """Whether a file has these bytes in it."""
    with path.open('rb') as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(words) >= 0


def library_folders() -> list[Path]:
    """Return where the libraries of ROS 2 lie."""
    named = os.environ.get('LD_LIBRARY_PATH', '').split(os.pathsep)
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    machine = f'{platform.machine()}-linux-gnu'
    folders = [Path(name) for name in named if name]
    for prefix in filter(None, prefixes):
        folders += [Path(prefix, 'lib'), Path(prefix, 'lib', machine)]
    return [*folders, Path('/usr/lib', machine)]


def messages() -> Finding:
    """Look at dff_msgs."""
    done = check.run_check(sys.executable, MESSAGES_PROBE)
    if done.returncode:
        return Finding(
            'dff_msgs',
            f'does not work: {check.last_lines(done, 2)}',
            PROBLEM,
            f'{SET_UP_AGAIN} In a workspace of your own: colcon build, then source '
            'install/local_setup.bash.',
        )
    return Finding('dff_msgs', str(Path(done.stdout.strip()).parent))


def launch() -> Finding:
    """Look at launch_ros, which only `ros2 launch` needs."""
    if importlib.util.find_spec('launch_ros'):
        return Finding('launch_ros', 'there')
    return Finding(
        'launch_ros', 'not there: `ros2 launch` needs an installed ROS 2, `dff train` does not'
    )


def torch() -> list[Finding]:
    """Look at PyTorch: its version, and whether it computes on this processor."""
    version = installed_version('torch')
    if version is None:
        return [
            Finding(
                'PyTorch',
                'not installed',
                PROBLEM,
                'Start through ./dff, which installs it, or: python3 -m pip install torch',
            )
        ]
    done = check.run_check(sys.executable, check.TORCH)
    if check.is_illegal_instruction(done):
        return [
            Finding(
                'PyTorch',
                f'{version}: illegal instruction',
                PROBLEM,
                check.PI_ADVICE.format(python=sys.executable),
            )
        ]
    if done.returncode:
        return [
            Finding('PyTorch', f'{version}: {check.last_lines(done, 2)}', PROBLEM, SET_UP_AGAIN)
        ]
    device, threads = check.run_check(sys.executable, CUDA_PROBE).stdout.strip().rsplit(' ', 1)
    return [Finding('PyTorch', f'{version}, computes, {threads} threads, {device}')]


def torchvision() -> list[Finding]:
    """Look at torchvision, of which datasets, transforms and models are used."""
    version = installed_version('torchvision')
    if version is None:
        return [
            Finding(
                'torchvision',
                'not installed',
                WARNING,
                'Blocks of torchvision layers '
                'need it: python3 -m pip install --no-deps torchvision',
            )
        ]
    done = check.run_check(sys.executable, TORCHVISION_PROBE)
    if done.returncode and 'torchvision::nms' not in done.stderr:
        return [
            Finding(
                'torchvision',
                f'{version}: {check.last_lines(done, 2)}',
                WARNING,
                'Install the torchvision that was released with this PyTorch.',
            )
        ]
    without = ', without its compiled operators (none is used here)' if done.returncode else ''
    return [Finding('torchvision', version + without, OK)]


def installed_version(package: str) -> str | None:
    """Return the version of an installed package without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
