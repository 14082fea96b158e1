# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""`dff test`: what it does not know goes to pytest, in order."""

from __future__ import annotations

import subprocess
import sys

import pytest


def dff(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'dff_nodes.cli', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    'arguments',
    [
        ('-k', 'golden_facts', 'test/data/test_facts.py'),
        ('--slow', '-k', 'golden_facts', 'test/data/test_facts.py'),
        ('test/data/test_facts.py::test_golden_facts', '--slow'),
        ('--', '-k', 'golden_facts', 'test/data/test_facts.py'),
    ],
    ids=' '.join,
)
def test_arguments_reach_pytest(arguments: tuple[str, ...]) -> None:
    done = dff('test', *arguments, '--collect-only', '-q')
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if '::' in line]
    assert found == ['test/data/test_facts.py::test_golden_facts']


@pytest.mark.parametrize('arguments', [('check', '--bogus'), ('--bogus',), ('train', 'a', 'b')])
def test_other_verbs_take_nothing_unknown(arguments: tuple[str, ...]) -> None:
    done = dff(*arguments)
    assert done.returncode == 2
    assert f'unrecognized arguments: {arguments[-1]}' in done.stderr
