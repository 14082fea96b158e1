# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Injects the faults of a plan into the nodes of a lab while they train."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from dff_nodes.lab.chaos_plan import ChaosPlan, Fault
from dff_nodes.lab.lab import Lab
from dff_nodes.nodes.process import LAST_EVENTS
from dff_nodes.nodes.supervisor import Supervisor

Emit = Callable[[dict[str, Any]], None]
POLL_S = 0.1
UNTIL = 0.97
"""share of the run after which nothing is injected: a run that ends starts no node again"""


class Chaos:
    """
    A thread that injects faults one after the other, from the first progress of the run on.

    Every fault of its plan comes in its turn. Where its node was started only just now, or is
    away, it waits: a node that is killed before it trains again would never get on.

    :param emit: takes a warning for each fault, on the thread.
    """

    def __init__(self, plan: ChaosPlan, lab: Lab, emit: Emit) -> None:
        self.plan = plan
        self.counts = dict.fromkeys(plan.faults, 0)
        self._lab = lab
        self._emit = emit
        self._training = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._supervisor: Supervisor | None = None

    def watch(self, emit: Emit) -> Emit:
        """Give a function that takes the run's events on their way and sees how far it is."""

        def see(event: dict[str, Any]) -> None:
            if event['event'] in LAST_EVENTS:
                self._ended.set()
            elif event['event'] == 'progress' and event.get('items'):
                self._training.set()
                if event['item'] > UNTIL * event['items']:
                    self._ended.set()
            emit(event)

        return see

    def start(self, supervisor: Supervisor) -> None:
        """Begin, once the nodes were started."""
        self._supervisor = supervisor
        self._thread = threading.Thread(target=self._run, name='chaos', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was stopped goes on, and what was unplugged is plugged in."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._training.wait(POLL_S):
            if self._ended.is_set():
                return
        for fault in self.plan.schedule(sorted(self._supervisor.processes)):
            if self._ended.wait(fault.wait_s) or not self._await_settled(fault.node):
                return
            self._inject(fault)

    def _await_settled(self, node: str) -> bool:
        """Wait until a node has been running for a while; False if the run ends before."""
        while self._age_s(node) < self.plan.settle_s:
            if self._ended.wait(POLL_S):
                return False
        return True

    def _age_s(self, node: str) -> float:
        process = self._supervisor.processes[node]
        if process.poll() is not None:
            return 0.0
        try:
            return time.time() - psutil.Process(process.pid).create_time()
        except psutil.NoSuchProcess:
            return 0.0

    def _inject(self, fault: Fault) -> None:
        device = self._lab.device_of(fault.node)
        process = self._supervisor.processes[fault.node]
        self.counts[fault.kind] += 1
        if fault.kind == 'kill':
            self._say(f'kill {fault.node}')
            process.kill()
        elif fault.kind == 'stop':
            self._say(f'stop {fault.node} for {fault.lasts_s:.1f} s')
            process.send_signal(signal.SIGSTOP)
            self._ended.wait(fault.lasts_s)
            process.send_signal(signal.SIGCONT)
        else:
            self._say(f'link of {device} ({fault.node}) down for {fault.lasts_s:.1f} s')
            self._lab.plug(device, False)
            self._ended.wait(fault.lasts_s)
            self._lab.plug(device, True)

    def _say(self, text: str) -> None:
        self._emit({'event': 'warning', 'text': f'chaos: {text}'})
