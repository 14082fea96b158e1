# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Child processes of the set-up, and what is said when one of them fails."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

TAIL_LINES = 15


class SetUpError(Exception):
    """The set-up cannot go on; the text says what happened and what to do."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status


class MissingPrerequisite(SetUpError):
    """The machine lacks something that only its owner can install."""

    def __init__(self, message: str):
        super().__init__(message, status=2)


class Runner:
    """Runs the set-up's commands: output into a log file, failures into one clear paragraph.

    The file descriptors in `held` stay open in every child. The lock is one of them, so a pip
    or compiler that outlives a killed set-up keeps the next set-up waiting, not trampling.
    """

    def __init__(self, log: Path, held: tuple[int, ...] = ()):
        self.log = log
        self.held = held

    def run(
        self,
        command,
        *,
        doing: str,
        advice: str = '',
        environment=None,
        cwd=None,
        may_fail: bool = False,
    ) -> str:
        """Run `command` and return what it printed; raise SetUpError unless it `may_fail`."""
        command = [str(part) for part in command]
        self.log.mkdir(parents=True, exist_ok=True)
        log_file = self.log / (doing.replace(' ', '_') + '.log')
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=self.held,
                encoding='utf-8',
                errors='replace',
            )
        except OSError as error:
            raise SetUpError(f'{doing}: cannot start {command[0]}: {error}\n{advice}') from error
        log_file.write_text(f'{shlex.join(command)}\n{done.stdout}', encoding='utf-8')
        if done.returncode and not may_fail:
            raise SetUpError(
                describe_failure(command, done.returncode, done.stdout, doing, log_file, advice)
            )
        return done.stdout


def describe_failure(command, status, output, doing, log_file, advice) -> str:
    """Say what was run, how it ended, its last lines, and what to do."""
    ended = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
    tail = [line for line in output.splitlines() if line.strip()][-TAIL_LINES:]
    quoted = '\n'.join('    ' + line[:300] for line in tail) or '    (it printed nothing)'
    return (
        f'{doing}: this command {ended}:\n    {shlex.join(command)}\n'
        f'Its last lines were:\n{quoted}\nAll of them are in {log_file}.\n{advice}'
    )
