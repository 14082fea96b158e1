# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Faults: which, when, in whom, and that what was stopped goes on."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from dff_nodes.lab.chaos import Chaos
from dff_nodes.lab.chaos_plan import KINDS, ChaosPlan
from dff_nodes.runs.errors import ConfigError

NODES = ['coordinator', 'layer_0', 'layer_1']


def first(plan: ChaosPlan, count: int = 50) -> list:
    return list(itertools.islice(plan.schedule(NODES), count))


def test_the_same_seed_gives_the_same_faults() -> None:
    assert first(ChaosPlan(seed=1)) == first(ChaosPlan(seed=1))
    assert first(ChaosPlan(seed=1)) != first(ChaosPlan(seed=2))


def test_every_kind_hits_every_node_at_about_the_rate_asked_for() -> None:
    faults = first(ChaosPlan(every_s=3), 300)
    assert {(fault.kind, fault.node) for fault in faults} == set(itertools.product(KINDS, NODES))
    assert 2.8 < sum(fault.wait_s for fault in faults) / len(faults) < 3.2
    assert all(1 <= fault.lasts_s <= 4 for fault in faults)


def test_a_plan_is_read() -> None:
    plan = ChaosPlan.parse('every=2.5s seed=7 faults=kill,link count=5 settle=4s')
    assert plan == ChaosPlan(2.5, 7, ('kill', 'link'), 5, 4.0)
    assert len(first(plan)) == 5
    assert {fault.kind for fault in first(plan)} <= {'kill', 'link'}


def test_faults_last_as_long_as_the_plan_says() -> None:
    plan = ChaosPlan.parse('seed=7 lasts=20s')
    assert {fault.lasts_s for fault in first(plan)} == {20.0}
    others = [(fault.wait_s, fault.kind, fault.node) for fault in first(ChaosPlan(seed=7))]
    assert [(fault.wait_s, fault.kind, fault.node) for fault in first(plan)] == others


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('evry=3s', "'evry=3s'"),
        ('every=soon', "'every=soon': a time is seconds, as 3s, got 'soon'"),
        (
            'every=3s,faults=kill',
            "with spaces between them, got 'every=3s,faults=kill'.*every=3s ",
        ),
        ('every=0s', 'more than 0 s'),
        ('faults=kill,flood', 'flood'),
        ('faults=', 'there are kill, stop, link'),
        ('count=0', '1 or more'),
        ('seed=one', "'seed=one'"),
    ],
)
def test_a_wrong_plan_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ChaosPlan.parse(text)


class Cables:
    """A lab that only remembers what was plugged in and out."""

    def __init__(self) -> None:
        self.plugged: list[tuple[str, bool]] = []

    def device_of(self, node: str) -> str:
        return f'device of {node}'

    def plug(self, device: str, connected: bool) -> None:
        self.plugged.append((device, connected))


class Run:
    """A run of one node that sleeps, hit by a plan from its first progress on."""

    def __init__(self, plan: str) -> None:
        self.cables = Cables()
        self.said: list[str] = []
        self.hit = threading.Event()
        self.chaos = Chaos(ChaosPlan.parse(plan), self.cables, self._hear)
        self.node = subprocess.Popen(['sleep', '600'])
        self.chaos.start(SimpleNamespace(processes={'layer_0': self.node}))
        self.tell = self.chaos.watch(lambda event: None)

    def _hear(self, event: dict[str, Any]) -> None:
        assert event['event'] == 'warning'
        self.said.append(event['text'])
        self.hit.set()

    def progress(self, item: int) -> None:
        self.tell({'event': 'progress', 'item': item, 'items': 100})

    def end(self) -> None:
        self.chaos.stop()
        self.node.kill()
        self.node.wait()


FAST = 'every=0.01s settle=0.01s count=1 faults='


def test_a_kill() -> None:
    run = Run(FAST + 'kill')
    run.progress(1)
    assert run.node.wait(60) == -signal.SIGKILL
    run.end()
    assert run.said == ['chaos: kill layer_0']
    assert run.chaos.counts == {'kill': 1}


def test_a_node_that_is_stopped_goes_on_when_the_run_ends() -> None:
    run = Run(FAST + 'stop')
    run.progress(1)
    assert run.hit.wait(60)
    run.chaos.stop()
    assert psutil.Process(run.node.pid).status() != psutil.STATUS_STOPPED
    run.end()
    assert 'chaos: stop layer_0 for' in run.said[0]


def test_a_cable_that_was_pulled_is_put_back_when_the_run_ends() -> None:
    run = Run(FAST + 'link')
    run.progress(1)
    assert run.hit.wait(60)
    run.end()
    assert run.cables.plugged == [('device of layer_0', False), ('device of layer_0', True)]


@pytest.mark.parametrize('event', [{'event': 'result'}, {'event': 'progress', 'item': 99}])
def test_nothing_happens_to_a_run_that_ends(event: dict[str, Any]) -> None:
    run = Run('every=0.5s settle=0.01s faults=kill')
    run.progress(1)
    run.tell({'items': 100, **event})
    run.end()
    assert run.said == []


def test_nothing_happens_before_the_first_progress_or_to_a_node_just_started() -> None:
    for plan, item in (('every=0.01s settle=0.01s', None), ('every=0.01s settle=600s', 1)):
        run = Run(plan + ' faults=kill')
        if item is not None:
            run.progress(item)
        assert not run.hit.wait(0.5)
        run.end()
