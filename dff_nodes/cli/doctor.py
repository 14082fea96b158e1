# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Look at this machine: what dff_nodes needs, what is there, and what to do about the rest."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TextIO

from dff_nodes.diagnosis import machine, network, software
from dff_nodes.diagnosis.finding import OK, PROBLEM, WARNING, Finding

LOOKS: tuple[Callable[[], list[Finding]], ...] = (
    software.dff_version,
    software.ros,
    software.python,
    software.torch,
    software.torchvision,
    machine.processor,
    machine.memory,
    machine.shared_memory,
    machine.disk,
    machine.datasets,
    network.settings,
    network.multicast,
    network.discovery,
)
STYLES = {OK: 'green', WARNING: 'yellow', PROBLEM: 'bold red'}


def add_arguments(parser) -> None:
    """Add the verb's own arguments: it has none."""


def run(arguments) -> int:
    """Print the findings; returns 0 when nothing is a problem, else 1."""
    print('dff: looking at this machine, a few seconds ...', file=sys.stderr, flush=True)
    findings = look()
    show(findings, sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(as_result(findings)))
    return int(any(finding.status == PROBLEM for finding in findings))


def look(looks=LOOKS) -> list[Finding]:
    """Look at everything; what waits for a child process waits beside the others."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        return [finding for found in pool.map(look_safely, looks) for finding in found]


def look_safely(one: Callable[[], list[Finding]]) -> list[Finding]:
    """Look at one thing; a look that fails is a finding and hides none of the others."""
    try:
        return one()
    except Exception as error:
        traceback.print_exc()
        return [
            Finding(
                one.__name__,
                f'could not be looked at: {error!r}',
                WARNING,
                'This is a fault of dff doctor: please report it.',
            )
        ]


def as_result(findings: list[Finding]) -> dict:
    """Return the findings as the object that --json prints."""
    return {
        'findings': [asdict(finding) for finding in findings],
        'problems': sum(finding.status == PROBLEM for finding in findings),
        'warnings': sum(finding.status == WARNING for finding in findings),
    }


def show(findings: list[Finding], stream: TextIO) -> None:
    """Print a table on a terminal, plain lines elsewhere."""
    if stream.isatty():
        try:
            show_table(findings, stream)
            return
        except ImportError:
            # Without rich, which the doctor would find missing only by dying of it.
            pass
    show_lines(findings, stream)


def show_table(findings: list[Finding], stream: TextIO) -> None:
    """Print a table with colours."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        value = Text(finding.value)
        if finding.advice:
            value.append(f'\n{finding.advice}', style='italic')
        table.add_row(Text(finding.status, style=STYLES[finding.status]), finding.name, value)
    Console(file=stream).print(table)


def show_lines(findings: list[Finding], stream: TextIO) -> None:
    """Print one line for each finding, and one for its advice."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        value = finding.value.replace('\n', ' ')
        print(f'{finding.status:8} {finding.name:{width}}  {value}', file=stream)
        for line in finding.advice.splitlines():
            print(f'{"":8} {"":{width}}  -> {line}', file=stream)
