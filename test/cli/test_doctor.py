# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""dff doctor: each finding, and the verb as a whole."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dff_nodes.cli import doctor
from dff_nodes.diagnosis import machine, network, software
from dff_nodes.diagnosis.finding import OK, PROBLEM, WARNING, Finding
from dff_nodes.environment import check

VERB = """
import sys
from types import SimpleNamespace
from dff_nodes.cli import doctor
sys.exit(doctor.run(SimpleNamespace(json=True)))
"""


def statuses(findings):
    """Return the status of each finding by its name."""
    return {finding.name: finding.status for finding in findings}


@pytest.mark.ros
def test_this_machine_has_no_problem():
    done = subprocess.run(
        [sys.executable, '-c', VERB],
        capture_output=True,
        encoding='utf-8',
        env={**os.environ, 'ROS_DOMAIN_ID': '7'},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(done.stdout.splitlines()) == 1
    assert result['problems'] == 0
    names = {finding['name'] for finding in result['findings']}
    assert {
        'dff_nodes',
        'ROS 2',
        'RMW',
        'dff_msgs',
        'Python',
        'PyTorch',
        'torchvision',
        'processor',
        'memory',
        'shared memory',
        'disk',
        'datasets',
        'ROS_DOMAIN_ID',
        'multicast',
        'discovery',
    } <= names


@pytest.mark.ros
def test_two_processes_that_may_not_find_each_other_are_a_problem(monkeypatch):
    if os.environ.get('ROS_DISTRO') == 'humble':
        pytest.skip('Humble has no ROS_AUTOMATIC_DISCOVERY_RANGE')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    (finding,) = network.discovery(time_limit_s=2)
    assert finding.status == PROBLEM and finding.advice


@pytest.mark.ros
def test_a_middleware_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_of_nobody')
    (finding,) = software.ros()
    assert finding.status == PROBLEM
    assert finding.advice == 'Unset RMW_IMPLEMENTATION, or install rmw_of_nobody.'


def test_a_problem_is_exit_status_1_and_its_advice_is_printed(monkeypatch, capsys):
    bad = Finding('cable', 'not plugged in', PROBLEM, 'Plug it in.')
    monkeypatch.setattr(doctor, 'look', lambda: [Finding('air', 'there'), bad])
    assert doctor.run(SimpleNamespace(json=False)) == 1
    out = capsys.readouterr().out
    assert 'not plugged in' in out and '-> Plug it in.' in out
    monkeypatch.setattr(doctor, 'look', lambda: [Finding('air', 'thin', WARNING)])
    assert doctor.run(SimpleNamespace(json=False)) == 0


def test_a_look_that_fails_hides_none_of_the_others():
    def broken():
        raise OSError('no such thing')

    findings = doctor.look([broken, software.dff_version])
    assert [finding.status for finding in findings] == [WARNING, OK]
    assert 'no such thing' in findings[0].value


def test_the_table_shows_text_as_it_is(capsys):
    # Square brackets are markup to rich: a path with some must not vanish.
    doctor.show_table([Finding('disk', 'free at /data/[bold]x', WARNING, 'Do.')], sys.stdout)
    assert '[bold]x' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('text', 'status'),
    [
        ('', OK),
        ('0', OK),
        ('101', OK),
        ('102', WARNING),
        ('233', PROBLEM),
        ('-1', PROBLEM),
        ('seven', PROBLEM),
    ],
)
def test_domain_ids(text, status):
    assert network.domain(text).status == status


@pytest.mark.parametrize(
    ('wanted', 'status'),
    [('', OK), ('SUBNET', OK), ('LOCALHOST', WARNING), ('OFF', PROBLEM), ('EVERYWHERE', PROBLEM)],
)
def test_discovery_ranges(wanted, status):
    (finding,) = network.discovery_range(wanted, '')
    assert finding.status == status


def test_localhost_only_is_pointed_out():
    assert statuses(network.discovery_range('', '1'))['ROS_LOCALHOST_ONLY'] == WARNING


def test_a_receiver_that_hears_nothing_is_bounded_and_explained():
    took, said = network.pair(
        network.MULTICAST_RECEIVER,
        'import time; time.sleep(60)',
        (network.MULTICAST_GROUP, 31234),
        0.2,
    )
    assert took is None and 'timed out' in said


def test_little_memory_and_little_shared_memory(tmp_path):
    (tmp_path / 'proc').mkdir()
    meminfo = tmp_path / 'proc/meminfo'
    meminfo.write_text('MemTotal: 1000000 kB\nMemAvailable: 100000 kB\n')
    assert statuses(machine.memory(tmp_path)) == {'memory': WARNING}
    meminfo.write_text('MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n')
    assert statuses(machine.memory(tmp_path)) == {'memory': OK}
    assert statuses(machine.shared_memory(tmp_path / 'none')) == {'shared memory': WARNING}


def test_datasets_are_found_where_torchvision_looks(tmp_path):
    (nothing,) = machine.datasets(tmp_path)
    assert nothing.status == WARNING and 'DFF_DATA' in nothing.advice
    (tmp_path / 'MNIST/raw').mkdir(parents=True)
    (tmp_path / 'MNIST/raw/train-images-idx3-ubyte').touch()
    (tmp_path / 'cifar10.npz').touch()
    (found,) = machine.datasets(tmp_path)
    assert found.status == OK and found.value.startswith('MNIST, CIFAR-10 in')


def test_the_model_of_a_board_comes_from_its_device_tree(tmp_path):
    (tmp_path / 'proc/device-tree').mkdir(parents=True)
    (tmp_path / 'proc/device-tree/model').write_text('Raspberry Pi 5 Model B Rev 1.0\0')
    assert machine.processor_model(tmp_path) == 'Raspberry Pi 5 Model B Rev 1.0'


@pytest.mark.parametrize(
    ('answer', 'said'),
    [('throttled=0x0', []), ('throttled=0x50005', ['under-voltage', 'throttled'])],
)
def test_a_raspberry_pi_that_throttles(tmp_path, answer, said):
    command = tmp_path / 'vcgencmd'
    command.write_text(f'#!/bin/sh\necho {answer}\n')
    command.chmod(0o755)
    (finding,) = machine.throttling(str(command))
    assert (finding.status == WARNING) == bool(said)
    assert finding.value == (', '.join(said) or 'none')


def test_security_is_told_by_the_middleware_library(tmp_path):
    library = tmp_path / 'libfastrtps.so'
    assert software.has_security('rmw_fastrtps_cpp', [tmp_path]) is None
    library.write_bytes(b'\0code\0')
    assert software.has_security('rmw_fastrtps_cpp', [tmp_path]) is False
    library.write_bytes(b'\0code\0DDS:Auth:PKI-DH:1.0+Req\0')
    assert software.has_security('rmw_fastrtps_cpp', [tmp_path]) is True
    assert software.has_security('rmw_cyclonedds_cpp', [tmp_path]) is False
    assert software.has_security('rmw_zenoh_cpp', [tmp_path]) is None


@pytest.mark.parametrize(
    ('has', 'enable', 'strategy', 'status', 'said'),
    [
        (False, '', '', OK, 'not possible: rmw_fastrtps_cpp was built without DDS security'),
        (True, '', '', OK, 'off: everybody'),
        (True, 'true', '', WARNING, 'ROS_SECURITY_STRATEGY is not set'),
        (True, 'true', 'Permissive', WARNING, 'ROS_SECURITY_STRATEGY is Permissive'),
        (True, 'true', 'Enforce', OK, 'on, enforced'),
    ],
)
def test_who_may_take_part_in_a_run_is_told(monkeypatch, has, enable, strategy, status, said):
    monkeypatch.setattr(software, 'has_security', lambda rmw, folders: has)
    monkeypatch.setenv('ROS_SECURITY_ENABLE', enable)
    monkeypatch.setenv('ROS_SECURITY_STRATEGY', strategy)
    found = software.security('rmw_fastrtps_cpp')
    assert found.status == status
    assert said in found.value


def test_an_illegal_instruction_gets_the_advice_for_a_raspberry_pi(monkeypatch):
    # The child really dies of SIGILL, as PyTorch does on a Raspberry Pi 4.
    monkeypatch.setattr(check, 'TORCH', 'import os, signal; os.kill(os.getpid(), signal.SIGILL)')
    (finding,) = software.torch()
    assert finding.status == PROBLEM
    assert '2.10.0' in finding.advice and sys.executable in finding.advice
