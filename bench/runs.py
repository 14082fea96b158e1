# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Starts dff runs for the benches and keeps their figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name('results')


def train(*arguments: str) -> dict[str, Any]:
    """
    Run `dff train` to its end and give its result.

    :raises RuntimeError: with what the command printed, if it failed.
    """
    with tempfile.TemporaryDirectory(prefix='dff_bench_') as folder:
        done = subprocess.run(
            [str(REPOSITORY / 'dff'), 'train', '--json', '--runs', folder, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f'dff train {" ".join(arguments)} failed:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    model = 'unknown processor'
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            model = line.partition(':')[2].strip()
            break
    return {
        'processor': model,
        'cores': len(os.sched_getaffinity(0)),
        'memory_gb': round(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9, 1),
        'system': platform.platform(terse=True),
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Write a bench's figures, and what they were measured on, to bench/results."""
    write(name, {'machine': machine(), **figures})


def write(name: str, figures: dict[str, Any]) -> None:
    """Write figures to bench/results/NAME.json and print them."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(figures, indent=2) + '\n'
    (RESULTS / f'{name}.json').write_text(text)
    sys.stdout.write(text)


def read(name: str) -> dict[str, Any]:
    """
    Give the figures that bench/results/NAME.json holds.

    :raises FileNotFoundError: if there are none.
    """
    return json.loads((RESULTS / f'{name}.json').read_text())
