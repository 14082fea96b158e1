# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Run all tests; more arguments go to pytest, for example --slow or -k golden."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

TAKES_MORE = True
"""arguments that are not declared here are no mistake"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        '--slow', action='store_true', help='also the proofs that take many minutes'
    )
    # Not declared: argparse would claim those that begin with a dash.
    parser.usage = 'dff test [-h] [--json] [--debug] [--slow] [what pytest takes ...]'


def run(arguments: argparse.Namespace) -> int:
    """Run pytest in the repository."""
    repository = Path(__file__).resolve().parents[2]
    if not (repository / 'test').is_dir():
        raise RuntimeError(f'there are no tests in {repository}: run ./dff test in a clone')
    command = [sys.executable, '-m', 'pytest', '-rs']
    command += [] if arguments.slow else ['-m', 'not slow']
    command += [each for each in arguments.more if each != '--']
    # Pytest writes to standard error, so that --json has standard output for itself.
    output = sys.stderr if arguments.json else None
    status = subprocess.run(
        command, cwd=repository, env=os.environ, stdout=output, check=False
    ).returncode
    if arguments.json:
        print(json.dumps({'passed': status == 0}))
    return 0 if status == 0 else 1
