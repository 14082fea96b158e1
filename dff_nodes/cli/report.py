# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Write one HTML page with the figures and plots of a run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dff_nodes.runs.atomic import write_atomically
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.run_folder import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('run', metavar='RUN', help='folder of the run, for example runs/digits')
    parser.add_argument(
        '--output', metavar='FILE', help='where the page goes; default: report.html in RUN'
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print where it is; raises ConfigError if it cannot."""
    from dff_nodes.runs.report import render
    from dff_nodes.runs.run_record import read_run

    folder = open_run(arguments.run)
    output = Path(arguments.output or folder.path / 'report.html').resolve()
    page = render(read_run(folder))
    try:
        write_atomically(output, page.encode())
    except OSError as error:
        raise ConfigError(
            f'the report {output} cannot be written: {error.strerror}; choose another place with '
            '--output'
        ) from error
    print(output, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps({'report': str(output)}))
    return 0
