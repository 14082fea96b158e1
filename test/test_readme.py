# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every command of the README does what it says, in the order in which it stands there."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
ELSEWHERE = {
    './dff test': 'this is it',
    'source .dff/env.sh': 'test_packaging.py',
    'colcon build': 'test_packaging.py',
    'source install/setup.bash': 'test_packaging.py',
    'ros2 launch': 'nodes/test_launch_file.py, where launch_ros is',
    'sudo ./dff lab': 'lab/, as root; on MNIST and with chaos in bench/chaos.py',
    'sudo ./dff plan': 'lab/test_quota_cost.py and lab/test_message_cost.py, as root',
}
"""commands that other tests run, and which"""
LIMIT_S = 400


def commands() -> list[str]:
    """Give the lines of all bash blocks."""
    blocks = re.findall(r'```bash\n(.*?)```', README, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope='module')
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand in for the folder of a clone: its commands and files, with runs of its own."""
    folder = tmp_path_factory.mktemp('clone')
    for name in ('dff', 'config', 'doc'):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope='module')
def environment(ros_environment: dict[str, str]) -> dict[str, str]:
    # As a user's shell: not the one of the dff that runs the tests.
    inner = ('AMENT_PREFIX_PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV', 'DFF_ACTIVE')
    return {key: value for key, value in ros_environment.items() if key not in inner}


def is_elsewhere(command: str) -> bool:
    return any(command.startswith(start) for start in ELSEWHERE)


def shortened(command: str) -> str:
    """Keep what a command does, and make it quick: one epoch, if it trains on MNIST."""
    if 'config/mnist' in command:
        command += ' --set training.epochs=1 --set evaluation.train_samples=100'
    return command


@pytest.mark.parametrize('command', [each for each in commands() if not is_elsewhere(each)])
def test_command(
    command: str, clone: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if 'mnist' in command:
        root = request.getfixturevalue('mnist_root')
        environment = environment | {'DFF_DATA': str(root)}
    done = subprocess.run(
        shlex.split(shortened(command)),
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if ' --name my_run' in command:
        result = json.loads((clone / 'runs' / 'my_run' / 'result.json').read_text())
        assert result['test_accuracy'] > 0.9
    if 'classify' in command:
        assert 'seven.png: 7' in done.stderr
    if ' report ' in command:
        assert (clone / 'runs' / 'my_run' / 'report.html').stat().st_size > 10_000


def test_resume_of_a_finished_run_says_so(clone: Path, environment: dict[str, str]) -> None:
    command = re.search(r'`(./dff train --resume \S+)`', README).group(1)
    done = subprocess.run(
        shlex.split(command),
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'has finished' in done.stderr


def test_run_node_waits_for_its_run_and_ends_when_asked(
    clone: Path, environment: dict[str, str]
) -> None:
    command = re.search(r'`(./dff run-node \S+ \S+)`', README).group(1)
    process = subprocess.Popen(
        shlex.split(command), cwd=clone, env=environment, stderr=subprocess.PIPE, text=True
    )
    too_long = threading.Timer(LIMIT_S, process.kill)
    too_long.start()
    said = ''
    while 'waiting for the run configuration' not in said and (line := process.stderr.readline()):
        said += line
    assert process.poll() is None, said
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    too_long.cancel()
    assert 'Traceback' not in said + errors
    assert process.returncode == 1


def test_an_error_reads_as_the_readme_shows_it(clone: Path, environment: dict[str, str]) -> None:
    shown = next(line for line in README.splitlines() if line.startswith('dff train: '))
    done = subprocess.run(
        [str(clone / 'dff'), 'train', 'config/mnist.yaml', '--set', 'network.1.unit=3'],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert shown in done.stderr.splitlines()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r'\]\(([^)]+)\)', README):
        assert (ROOT / target).exists(), target
