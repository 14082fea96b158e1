# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The launch file, where ROS 2's launch is installed: read, and launched for real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip(
    'launch_ros', reason='launch_ros is not installed (the ROS 2 wheels have none)'
)
from launch.launch_description_sources import (  # noqa: E402 - only where it is installed
    get_launch_description_from_python_launch_file,
)

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / 'launch' / 'dff.launch.py'
ARGUMENTS = {
    'config', 'host', 'run', 'runs', 'namespace', 'respawn', 'respawn_delay_s', 'log_level',
}  # fmt: skip
SMALL = {
    'network': [{'units': 16}, {'units': 16}],
    'training': {'epochs': 1},
    'stream': {'silence_s': 10},
}
LIMIT_S = 120
# What `ros2 launch` does, which not every installation has beside launch_ros.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [each.split(':=', 1) for each in sys.argv[2:]]
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture
def environment(ros_environment, tmp_path):
    """Environment in which python3, which the launch file starts, is the tests' own."""
    program = tmp_path / 'bin' / 'python3'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    first = {'PATH': program.parent, 'PYTHONPATH': ROOT}
    joined = {key: f'{value}:{ros_environment.get(key, "")}' for key, value in first.items()}
    return ros_environment | joined | {'ROS_LOG_DIR': str(tmp_path / 'log')}


@pytest.fixture
def launch(environment, tmp_path):
    """Start launches as processes; none is left behind."""
    started = []

    def start(**arguments):
        command = [sys.executable, '-c', LAUNCH, str(LAUNCH_FILE)]
        command += [f'{key}:={value}' for key, value in arguments.items()]
        log = tmp_path / f'launch_{len(started)}.log'
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
            stdout=log.open('w'), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        process.log = log
        started.append(process)
        return process

    yield start
    for process in started:
        # The nodes are in the session of their launch, also when it is gone before them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def config_file(tmp_path):
    """Write a configuration of a small run and give its path."""

    def write(**tree):
        path = tmp_path / 'small.yaml'
        path.write_text(yaml.safe_dump(SMALL | tree))
        return path

    return write


def await_text(process, text):
    """Wait until a launch has printed a text, and give all that it has printed."""
    limit = time.monotonic() + LIMIT_S
    while text not in (printed := process.log.read_text()):
        assert process.poll() is None, printed
        assert time.monotonic() < limit, printed
        time.sleep(0.1)
    return printed


def end(process):
    """Wait for the end of a launch, and give its exit status and what it printed."""
    status = process.wait(LIMIT_S)
    return status, process.log.read_text()


def result(folder):
    return json.loads((folder / 'result.json').read_text())


def test_every_argument_is_documented_and_has_a_default():
    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    declared = {each.name: each for each in description.get_launch_arguments()}
    assert declared.keys() == ARGUMENTS
    for argument in declared.values():
        assert argument.default_value is not None
        assert argument.description != 'no description given'


def test_the_default_configuration_lies_beside_the_launch_file():
    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    (config,) = (each for each in description.get_launch_arguments() if each.name == 'config')
    assert Path(config.default_value[0].text).is_file()


@pytest.mark.ros
@pytest.mark.slow
def test_a_run_on_one_device(launch, config_file, tmp_path):
    status, printed = end(launch(config=config_file(), run='once'))
    assert status == 0, printed
    assert result(tmp_path / 'runs' / 'once')['epochs'] == 1
    again, printed = end(launch(config=config_file(), run='once'))
    assert again == 1
    assert 'has finished' in printed
    assert 'process started' not in printed


@pytest.mark.ros
@pytest.mark.slow
def test_a_run_on_two_devices(launch, config_file, tmp_path):
    placement = {'a': ['coordinator', 'layer_0'], 'b': ['layer_1']}
    config = config_file(placement=placement)
    ends = [
        end(process)
        for process in [
            launch(config=config, host=host, run='both', runs=tmp_path / host) for host in 'ab'
        ]
    ]
    assert [status for status, _ in ends] == [0, 0], ends
    assert '[layer_1-1]' in ends[1][1] and '[coordinator' not in ends[1][1]
    assert result(tmp_path / 'a' / 'both')['epochs'] == 1
    assert list((tmp_path / 'b' / 'both' / 'checkpoints').glob('layer_1*'))


@pytest.mark.ros
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'host': 'pi9'}, "placement has no device 'pi9', it has a"),
        ({'host': 'a', 'namespace': '1st'}, "got '1st'"),
        ({'host': 'a', 'respawn_delay_s': 'soon'}, "respawn_delay_s must be a number, got 'soon'"),
        ({'host': 'a', 'respawn': 'perhaps'}, "['true', 'false']"),
    ],
)
def test_a_wrong_request_is_one_message_and_starts_nothing(
    launch, config_file, arguments, message
):
    config = config_file(placement={'a': ['coordinator', 'layer_0', 'layer_1']})
    status, printed = end(launch(config=config, **arguments))
    assert status == 1
    assert message in printed
    assert 'Traceback' not in printed
    assert 'process started' not in printed


@pytest.mark.ros
@pytest.mark.slow
def test_a_node_that_was_killed_is_started_again(launch, config_file):
    process = launch(
        config=config_file(training={'epochs': 5000}), respawn='true', respawn_delay_s=0.5
    )
    printed = await_text(process, 'epoch 2:')
    os.kill(process_id(printed, 'layer_1-'), signal.SIGKILL)
    printed = await_text(process, 'layer_1 was ended by signal 9, it is started again in 0.5 s')
    await_text(process, '[layer_1-4]: process started')
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 0


@pytest.mark.ros
@pytest.mark.slow
def test_a_node_that_was_killed_ends_the_launch(launch, config_file):
    process = launch(config=config_file(training={'epochs': 5000}))
    os.kill(process_id(await_text(process, 'epoch 1:'), 'layer_1-'), signal.SIGKILL)
    status, printed = end(process)
    assert status == 1
    assert 'layer_1 was ended by signal 9, so the nodes of this device are stopped' in printed


@pytest.mark.ros
@pytest.mark.slow
def test_a_node_that_was_replaced_is_no_failure(launch, config_file, tmp_path):
    placement = {'a': ['coordinator', 'layer_0'], 'b': ['layer_1']}
    config = config_file(placement=placement, training={'epochs': 5000})
    first, second = (
        launch(config=config, host=host, runs=tmp_path / host, respawn='true') for host in 'ab'
    )
    await_text(first, 'epoch 1:')
    status, printed = end(launch(config=config, host='b', runs=tmp_path / 'c', respawn='true'))
    assert status == 0, printed
    assert 'layer_1 runs on' in printed and 'already' in printed
    assert 'layer_1 ended with exit status 3: another node has its place now' in printed
    assert 'started again' not in printed
    assert first.poll() is None and second.poll() is None


@pytest.mark.ros
@pytest.mark.slow
def test_ctrl_c_ends_all_and_nothing_is_started_again(launch, config_file):
    process = launch(config=config_file(training={'epochs': 5000}), respawn='true')
    await_text(process, 'epoch 1:')
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    status, printed = end(process)
    assert status == 0
    assert 'started again' not in printed
    assert 'Traceback' not in printed


def process_id(printed, name):
    """Give the process of the first node of that name that a launch has started."""
    line = next(line for line in printed.splitlines() if f'[{name}' in line and 'pid [' in line)
    return int(line.rpartition('[')[2].rstrip(']'))
