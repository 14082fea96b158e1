# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Nodes as copies of one process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dff_nodes.nodes.fork_server import ForkedNode, ForkServer
from dff_nodes.nodes.local_run import PRELOAD
from dff_nodes.nodes.process import PARENT_VARIABLE

NODE = """
import sys, time
import shared
print(shared.NUMBER, shared.imported_by, *sys.argv[1:], flush=True)
print('not an event', file=sys.stderr, flush=True)
if __name__ == '__main__':
    exec(sys.argv[1])
"""
SHARED = """
import os
NUMBER = 7
imported_by = os.getpid()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    """Give a server that has imported a module of the folder, which holds a node too."""
    (tmp_path / 'node.py').write_text(NODE)
    (tmp_path / 'shared.py').write_text(SHARED)
    path = os.pathsep.join([*sys.path, str(tmp_path)])
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), 'PYTHONPATH': path}
    made = ForkServer(['shared'], environment, tmp_path / 'server.log')
    yield made
    made.close()


def start(server: ForkServer, folder: Path, text: str, reads_output: bool = True) -> ForkedNode:
    with (folder / 'node.log').open('ab') as log:
        command = [sys.executable, '-m', 'node', text, 'of two  words']
        return server.start(command, log.fileno(), reads_output)


def test_a_node_has_its_arguments_output_log_and_status(
    server: ForkServer, tmp_path: Path
) -> None:
    node = start(server, tmp_path, 'sys.exit(3)')
    assert node.wait(30) == 3
    number, _, *words = node.stdout.read().decode().split(' ', 3)
    assert (number, words) == ('7', ['sys.exit(3)', 'of two  words\n'])
    assert (tmp_path / 'node.log').read_text() == 'not an event\n'
    assert (tmp_path / 'server.log').read_text() == ''


def test_output_that_nobody_reads_goes_to_the_log(server: ForkServer, tmp_path: Path) -> None:
    assert start(server, tmp_path, 'pass', reads_output=False).wait(30) == 0
    assert (tmp_path / 'node.log').read_text().startswith('7 ')


def test_all_have_what_was_imported_once(server: ForkServer, tmp_path: Path) -> None:
    nodes = [start(server, tmp_path, 'pass') for _ in range(3)]
    assert [node.wait(30) for node in nodes] == [0, 0, 0]
    assert len({node.stdout.read().split()[1] for node in nodes}) == 1


def test_a_node_is_a_child_with_a_name_and_its_end_is_seen(
    server: ForkServer, tmp_path: Path
) -> None:
    node = start(server, tmp_path, 'time.sleep(600)')
    process = psutil.Process(node.pid)
    assert node.stdout.readline()
    assert process.ppid() == os.getpid()
    assert process.cmdline()[:3] == [sys.executable, '-m', 'node']
    assert set(process.cmdline()[5:]) == {''}
    assert os.getsid(node.pid) == node.pid
    assert node.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0.1)
    node.send_signal(signal.SIGKILL)
    assert node.wait(30) == -signal.SIGKILL
    node.send_signal(signal.SIGKILL)  # as harmless as with subprocess


def test_a_command_may_be_long_but_not_without_end(server: ForkServer, tmp_path: Path) -> None:
    text = 'pass #' + 100_000 * 'x'
    assert start(server, tmp_path, text, reads_output=False).wait(30) == 0
    with pytest.raises(OSError, match='too long'):
        start(server, tmp_path, 'pass #' + 1_000_000 * 'x')


def test_a_node_that_is_killed_at_once_was_killed(server: ForkServer, tmp_path: Path) -> None:
    for _ in range(20):
        node = start(server, tmp_path, 'time.sleep(600)', reads_output=False)
        node.send_signal(signal.SIGKILL)
        assert node.wait(30) == -signal.SIGKILL


def test_an_error_is_in_the_log(server: ForkServer, tmp_path: Path) -> None:
    assert start(server, tmp_path, 'raise ValueError(5)').wait(30) == 1
    assert 'ValueError: 5' in (tmp_path / 'node.log').read_text()


def test_another_server_comes_when_one_was_killed(server: ForkServer, tmp_path: Path) -> None:
    first = start(server, tmp_path, 'time.sleep(600)')
    number = first.pid
    # Until it is the node it looks like the server, which is found by its command below.
    assert first.stdout.readline()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess):
            if any('fork_server' in word for word in child.cmdline()):
                child.kill()
                child.wait()
    assert first.poll() is None
    assert start(server, tmp_path, 'pass').wait(30) == 0
    os.kill(number, signal.SIGTERM)
    assert first.wait(30) == -signal.SIGTERM


def test_what_was_asked_for_when_the_server_ends_never_starts(
    server: ForkServer, tmp_path: Path
) -> None:
    (tmp_path / 'shared.py').write_text('import time\ntime.sleep(600)\n')
    node = start(server, tmp_path, 'pass')
    time.sleep(0.2)
    assert node.poll() is None
    server.close()
    assert node.wait(5) == 1
    node.send_signal(signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        _ = node.pid


def test_a_module_that_cannot_be_imported_is_told(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / 'shared.py').write_text('import no_such_module\n')
    assert start(server, tmp_path, 'pass').wait(30) == 1
    assert "No module named 'no_such_module'" in (tmp_path / 'server.log').read_text()


def test_what_nodes_share_holds_none_of_ros() -> None:
    """Its threads would be missing in a copy; the other ones of NumPy come back by themselves."""
    text = (
        f'import sys, {", ".join(PRELOAD)}; print("torch" in sys.modules, "rclpy" in sys.modules)'
    )
    shared = subprocess.run([sys.executable, '-c', text], capture_output=True, timeout=60)
    assert shared.stdout == b'True False\n', shared.stderr
