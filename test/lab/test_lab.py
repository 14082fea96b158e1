# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Devices for real, without ROS: limits, links, loss, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from dff_nodes.lab.cgroup import Limits
from dff_nodes.lab.commands import LabError, run
from dff_nodes.lab.devices import Device
from dff_nodes.lab.lab import Lab, clean
from dff_nodes.lab.loss import BpfLoss, IptablesLoss, Loss, NftLoss
from dff_nodes.lab.network import INTERFACE, LinkLimits, Network

pytestmark = pytest.mark.usefixtures('nothing_left')

RECEIVE = """
import socket, sys
server = socket.create_server(('0.0.0.0', 5000))
print('ready', flush=True)
connection, _ = server.accept()
while connection.recv(65536):
    pass
"""
SEND = """
import errno, socket, sys
for rest in reversed(range(5)):
    try:
        connection = socket.create_connection((sys.argv[1], 5000))
        break
    except OSError as error:  # where frames are lost, all three that ask for an address may be
        if error.errno != errno.EHOSTUNREACH or not rest:
            raise
connection.sendall(bytes(int(sys.argv[2])))
"""
SHOW = """
import os, socket
print(socket.gethostname(), os.listdir('/dev/shm'), open('/proc/net/route').read().count('eth0'))
"""


NO_LIMITS = Limits()


def two_devices(limits: Limits = NO_LIMITS, **link: float) -> Lab:
    return Lab(
        [Device('pi0', ('layer_0',), limits), Device('pi1', ('layer_1',))], LinkLimits(**link)
    )


def start(lab: Lab, device: str, script: str, *words: str) -> subprocess.Popen:
    command = lab.command_on(device, [sys.executable, '-c', script, *words])
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def transfer(lab: Lab, count: int = 2_000_000) -> None:
    """Send so many bytes from pi0 to pi1."""
    server = start(lab, 'pi1', RECEIVE)
    assert server.stdout.readline() == 'ready\n', server.stderr.read()
    client = start(lab, 'pi0', SEND, lab.report()['devices']['pi1']['address'], str(count))
    assert client.communicate()[1] == '' and client.returncode == 0
    assert server.communicate()[1] == '' and server.returncode == 0


def test_a_device_has_its_own_name_and_shared_memory_and_no_way_out() -> None:
    with two_devices() as lab:
        output, errors = start(lab, 'pi1', SHOW).communicate()
        assert errors == ''
        assert output.split(maxsplit=1) == ['pi1', '[] 2\n'], 'two routes: lab and multicast'
        away = start(lab, 'pi1', SEND, '192.0.2.1', '1')
        assert 'Network is unreachable' in away.communicate()[1]


def test_the_process_on_the_device_is_the_one_that_was_started() -> None:
    with two_devices() as lab:
        process = start(lab, 'pi0', 'import os; print(os.getpid(), os.getppid())')
        output, _ = process.communicate()
        assert [int(word) for word in output.split()] == [process.pid, os.getpid()]


def test_a_process_over_the_memory_limit_is_killed() -> None:
    with two_devices(Limits(memory_mb=64)) as lab:
        process = start(lab, 'pi0', 'held = b"x" * 200_000_000; print(len(held))')
        output, _ = process.communicate()
        assert output == '' and process.returncode == -9
        assert [device.name for device in lab.out_of_memory()] == ['pi0']
        assert lab.report()['devices']['pi0']['peak_memory_mb'] <= 64


def test_a_processor_limit_is_in_force() -> None:
    burn = 'import time\nwhile time.process_time() < 0.3: pass'
    with two_devices(Limits(cpu=0.2)) as lab:
        # Where others take the processor after a moment, a period's quota is not used up in it.
        for _ in range(20):
            for device in ('pi0', 'pi1'):
                assert start(lab, device, burn).wait() == 0
            used = lab.report()['devices']
            if used['pi0']['throttled'] > 10:
                break
        assert used['pi0']['throttled'] > 10 and used['pi1']['throttled'] == 0
        assert used['pi0']['cpu_seconds'] >= 0.3


def overlimits(namespace: str) -> int:
    """Count how often the link's rate made a frame wait."""
    text = run('tc', '-n', namespace, '-s', '-j', 'qdisc', 'show', 'dev', INTERFACE)
    return sum(each['overlimits'] for each in json.loads(text) if each['kind'] == 'tbf')


def test_traffic_is_limited_and_counted() -> None:
    with two_devices(mbit=50) as lab:
        transfer(lab)
        used = lab.report()['devices']
        assert overlimits(lab._network.namespace('pi0')) > 0
        assert used['pi0']['sent_bytes'] > 2_000_000 and used['pi1']['received_bytes'] > 2_000_000
        assert used['pi0']['lost_frames'] == 0 and lab.report()['loss_tool'] is None


@pytest.mark.parametrize('way', [NftLoss, IptablesLoss, BpfLoss])
def test_every_way_loses_frames_and_counts_them(
    way: type[Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(way.tool) is None:
        pytest.skip(f'{way.tool} is not installed')
    monkeypatch.setattr('dff_nodes.lab.network.install_loss', lambda *at: _installed(way(), *at))
    with two_devices(loss=0.05) as lab:
        # A transfer is a hundred frames of 64 kB: in one of a hundred none of them is lost.
        for _ in range(10):
            transfer(lab, 5_000_000)
            report = lab.report()
            if report['devices']['pi1']['lost_frames']:
                break
        assert report['loss_tool'] == way.tool
        assert report['devices']['pi1']['lost_frames'] > 0


def _installed(loss: Loss, namespace: str, interface: str, share: float) -> Loss:
    loss.install(namespace, interface, share)
    return loss


def test_a_cable_can_be_pulled_and_put_back() -> None:
    def carrier(lab: Lab) -> str:
        return start(
            lab, 'pi0', 'print(open("/sys/class/net/eth0/carrier").read())'
        ).communicate()[0]

    with two_devices() as lab:
        lab.plug('pi0', False)
        assert carrier(lab).strip() == '0'
        lab.plug('pi0', True)
        transfer(lab)


def test_processes_and_all_else_go_with_an_error(nothing_left: Callable) -> None:
    with pytest.raises(ValueError, match='on the way'), two_devices() as lab:
        process = start(lab, 'pi0', 'print(1, flush=True)\nimport time\ntime.sleep(600)')
        process.stdout.readline()
        assert nothing_left(os.getpid())
        raise ValueError('on the way')
    assert process.wait() == -9


def test_a_lab_that_is_half_made_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*ignored: object) -> None:
        raise LabError('no such cable')

    monkeypatch.setattr(Network, 'add', fail)
    with pytest.raises(LabError, match='no such cable'), two_devices():
        pass


def test_cleaning_spares_a_lab_that_runs() -> None:
    with two_devices() as lab:
        assert not [name for name in clean() if name.startswith(f'dfflab-{os.getpid()}-')]
        transfer(lab)
