# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs the dff command as a user does, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

LIMIT_S = 900


@dataclass
class Finished:
    """What a command left."""

    status: int
    output: str
    errors: str
    answer: dict[str, Any] = field(default_factory=dict)


def _hang_up_ends() -> None:
    """Tests that nohup started hand an ignored SIGHUP on; commands here are to hear it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Dff:
    """Starts dff commands in a folder with an environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.started: list[subprocess.Popen] = []

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start a command."""
        process = subprocess.Popen(
            [sys.executable, '-m', 'dff_nodes.cli', *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hang_up_ends,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen, limit_s: float = LIMIT_S) -> Finished:
        """Wait for a command; its nodes must be gone when it is."""
        try:
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            left = len(self.nodes())
            process.terminate()
            output, errors = process.communicate()
            raise AssertionError(
                f'the command took more than {limit_s} s with {left} nodes left:\n'
                f'{errors[-2000:]}\n{self._logs()}'
            ) from None
        lines = output.splitlines()
        answer = json.loads(lines[-1]) if lines and lines[-1].startswith('{') else {}
        return Finished(process.returncode, output, errors, answer)

    def _logs(self) -> str:
        """Give the ends of the nodes' logs."""
        paths = sorted(self.folder.glob('runs/*/log/*.log'))
        return '\n'.join(f'{path}:\n{path.read_text()[-2000:]}' for path in paths)

    def run(self, *arguments: str) -> Finished:
        """Run a command to its end."""
        return self.finish(self.start(*arguments))

    def nodes(self) -> list[psutil.Process]:
        """Give the living node processes whose run folder is in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                command = ' '.join(process.cmdline())
            except psutil.Error:
                continue
            if 'dff_nodes.nodes.' in command and str(self.folder) in command:
                found.append(process)
        return found

    def node(self, name: str, wait_s: float = 60) -> psutil.Process:
        """Wait for the process of a node."""
        limit = time.monotonic() + wait_s
        while time.monotonic() < limit:
            for process in self.nodes():
                with contextlib.suppress(psutil.Error):
                    if f'__node:={name}' in process.cmdline():
                        return process
            time.sleep(0.05)
        raise AssertionError(f'{name} was not started within {wait_s} s')

    def await_gone(self, wait_s: float = 30) -> None:
        """Wait until no node process is left; raise AssertionError if some stay."""
        limit = time.monotonic() + wait_s
        while self.nodes():
            if time.monotonic() > limit:
                raise AssertionError(f'left behind: {[each.cmdline() for each in self.nodes()]}')
            time.sleep(0.1)


def settings(**values: Any) -> list[str]:
    """Make --set arguments; `__` stands for a dot."""
    pairs = [f'{key.replace("__", ".")}={json.dumps(value)}' for key, value in values.items()]
    return [word for pair in pairs for word in ('--set', pair)]
