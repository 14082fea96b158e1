# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Builds dff_msgs, and makes the ROS 2 wheels fit to build on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from dff_nodes.environment.place import Place
from dff_nodes.environment.process import Runner, SetUpError

# As the wheels' exported CMake targets name the Python and NumPy of the machine that built them.
FOREIGN_INCLUDE = re.compile(r'/opt/_?python/[^;"\s]*?/include(/python3\.\d+)?(?=[;"\s]|$)')
INCLUDES = """
import sysconfig, numpy
print(sysconfig.get_path('include'))
print(numpy.get_include())
"""
ADVICE = (
    'If the lines do not tell what is missing, remove the environment and start again: '
    'rm -rf {home}'
)


def repair_cmake_files(share: Path, python_include: str, numpy_include: str) -> int:
    """Point the wheels' exported CMake targets at this environment; returns how many files.

    Without this a package that depends on messages of the wheels stops at CMake's "Imported
    target includes non-existent path".
    """
    repaired = 0
    for path in sorted(share.glob('*/cmake/*.cmake')):
        text = path.read_text(encoding='utf-8')
        better = FOREIGN_INCLUDE.sub(
            lambda match: numpy_include if 'numpy' in match[0] else python_include, text
        )
        if better != text:
            path.write_text(better, encoding='utf-8')
            repaired += 1
    return repaired


def repair_wheels(place: Place, environment: dict[str, str]) -> int:
    """Repair the wheels of this environment."""
    done = subprocess.run(
        [place.python, '-c', INCLUDES],
        check=False,
        capture_output=True,
        encoding='utf-8',
        env=environment,
    )
    if done.returncode:
        raise SetUpError(
            f'NumPy cannot be imported:\n{done.stderr.strip()[-1000:]}\n'
            + ADVICE.format(home=place.home)
        )
    python_include, numpy_include = done.stdout.split('\n')[:2]
    return repair_cmake_files(place.venv / 'share', python_include, numpy_include)


def build(place: Place, runner: Runner, environment: dict[str, str]) -> None:
    """Build dff_msgs from nothing into the environment."""
    for folder in (place.home / 'build', place.install):
        # A message that is gone from msg/ must not live on in the old build.
        shutil.rmtree(folder, ignore_errors=True)
    # In the environment's own folder, and with a COLCON_HOME of its own: the repository's
    # colcon_defaults.yaml and the user's are for building by hand.
    environment = {**environment, 'COLCON_HOME': str(place.home / 'colcon')}
    environment.pop('COLCON_DEFAULTS_FILE', None)
    runner.run(
        [
            place.python,
            '-m',
            'colcon',
            '--log-base',
            place.log / 'colcon',
            'build',
            '--base-paths',
            place.root / 'msg',
            '--build-base',
            place.home / 'build',
            '--install-base',
            place.install,
            '--merge-install',
            '--event-handlers',
            'console_direct+',
            'console_start_end-',
            '--cmake-args',
            '--no-warn-unused-cli',
            '-DBUILD_TESTING=OFF',
            '-DCMAKE_BUILD_TYPE=Release',
            f'-DPython3_EXECUTABLE={place.python}',
            f'-DPYTHON_EXECUTABLE={place.python}',
        ],
        doing='build dff_msgs',
        advice=ADVICE.format(home=place.home),
        cwd=place.home,
        environment=environment,
    )
