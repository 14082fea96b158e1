# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is done about a node that ends; the nodes are small programs without ROS."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.nodes import supervisor
from dff_nodes.nodes.supervisor import NodeDied, Restarts, Supervisor

COORDINATOR = f"""
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
print('{json.dumps({'event': 'result'})}')
"""
"""ends its run when there is a file"""
LINGERING = (
    COORDINATOR.replace('os, sys', 'os, signal, sys')
    + """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(open(sys.argv[1] + '_dismissed', 'w').close()))
sys.stdout.flush()
open(sys.argv[1] + '_told', 'w').close()
time.sleep(30)
"""
)
"""stays in case that somebody has not heard of the end"""
HANGING = LINGERING.replace('lambda *_: sys.exit(', 'lambda *_: (').replace(
    'sleep(30)', 'sleep(600)'
)
"""hangs where it should end"""
LAYER = """
import os, sys, time
while not os.path.exists(sys.argv[1] + '_told'):
    time.sleep(0.1)
time.sleep(0.5)
"""
"""ends when the run has ended"""


@dataclass(frozen=True)
class Program:
    """A node that runs some Python, and notes down that it was started."""

    name: str
    text: str
    starts: Path

    def command(self, namespace: str, log_level: str) -> list[str]:
        note = f'open({str(self.starts)!r}, "a").write("{self.name}\\n")\n'
        return [sys.executable, '-c', note + self.text, str(self.starts.with_name('done'))]


class Run:
    """A coordinator and a layer that ends in some way."""

    def __init__(self, folder: Path, layer: str, coordinator: str = COORDINATOR) -> None:
        self._starts = folder / 'starts'
        self.events: list[dict[str, Any]] = []
        self.supervisor = Supervisor(
            [
                Program('coordinator', coordinator, self._starts),
                Program('layer_0', layer, self._starts),
            ],
            '/run',
            folder,
            {},
            self._see,
            restarts=Restarts(2, 0.0),
        )

    def _see(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if 'has its place now' in event.get('text', ''):
            self._starts.with_name('done').touch()

    def starts(self, name: str) -> int:
        """Give how often a node was started."""
        return self._starts.read_text().split().count(name)

    @property
    def warnings(self) -> str:
        """What was said."""
        return '\n'.join(each['text'] for each in self.events if each['event'] == 'warning')


@pytest.mark.parametrize('backoff_s', [0.0, 0.5, 100.0])
def test_a_node_that_always_fails_is_given_up(backoff_s: float) -> None:
    restarts, now = Restarts(10, backoff_s), 1000.0
    delays = []
    while (delay_s := restarts.delay_s('layer_0', now)) is not None:
        delays.append(delay_s)
        now += delay_s + 4.0
        assert len(delays) <= 10
    assert len(delays) == 10
    assert delays == sorted(delays)
    assert restarts.delay_s('layer_1', now) == min(backoff_s, 8.0)


def test_a_node_that_dies_now_and_then_is_always_started_again() -> None:
    restarts = Restarts(2, 0.5)
    assert [restarts.delay_s('layer_0', 40.0 * death) for death in range(4)] == [0.5, 1, 1, 1]


def test_a_node_that_was_replaced_is_not_started_again_and_fails_no_run(tmp_path: Path) -> None:
    run = Run(tmp_path, 'raise SystemExit(3)')
    assert run.supervisor.run() == 0
    assert run.starts('layer_0') == 1
    assert run.events[-1] == {'event': 'result'}
    assert run.warnings == 'layer_0 ended with exit status 3: another node has its place now'


def test_a_node_that_failed_is_started_again_until_that_is_no_help(tmp_path: Path) -> None:
    run = Run(tmp_path, 'raise SystemExit(1)')
    with pytest.raises(NodeDied, match='layer_0 ended with exit status 1 more than 2 times'):
        run.supervisor.run()
    assert run.starts('layer_0') == 3


def test_a_node_whose_request_was_wrong_is_not_started_again(tmp_path: Path) -> None:
    run = Run(tmp_path, 'raise SystemExit(2)')
    with pytest.raises(NodeDied, match='layer_0 ended with exit status 2; the end of its log'):
        run.supervisor.run()
    assert run.starts('layer_0') == 1


def test_a_coordinator_need_not_stay_when_all_others_have_gone(tmp_path: Path) -> None:
    run = Run(tmp_path, LAYER, LINGERING)
    (tmp_path / 'done').touch()
    assert run.supervisor.run() == 0
    assert (tmp_path / 'done_dismissed').exists()


def test_a_coordinator_that_hangs_in_its_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, 'DISMISSED_S', 1.0)
    monkeypatch.setattr(supervisor, 'END_S', 1.0)
    run = Run(tmp_path, LAYER, HANGING)
    (tmp_path / 'done').touch()
    assert run.supervisor.run() == 0
    assert (tmp_path / 'done_dismissed').exists()
    assert run.supervisor.processes['coordinator'].wait(30) == -signal.SIGKILL
    assert 'the coordinator has not ended 1 s after all others' in run.warnings
