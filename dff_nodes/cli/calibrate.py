# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Choose how sure a layer must be to answer by itself."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from dff_nodes.cli.arguments import add_use_of_weights
from dff_nodes.cli.evaluate import run_task
from dff_nodes.cli.view import make_view
from dff_nodes.runs import units
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.run_folder import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('run', help='folder of a run with data.validation_samples')
    parser.add_argument(
        '--max-loss',
        type=float,
        metavar='POINTS',
        help='percentage points of accuracy on the validation samples that may be lost; default '
        '0.1 (early_exit.max_loss)',
    )
    add_use_of_weights(parser)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, and write early_exit.json."""
    if arguments.max_loss is not None:
        # Here, as the nodes would name a setting that nobody wrote. A nan is not in the range.
        if not 0 <= arguments.max_loss <= 100:
            raise ConfigError(
                f'--max-loss must be 0 to 100 percentage points, got {arguments.max_loss}'
            )
        arguments.set = [*arguments.set, f'early_exit.max_loss={arguments.max_loss}']
    folder = open_run(arguments.run)
    view = make_view(sys.stderr)
    try:
        found = run_task('calibrate', folder, arguments, view, time.monotonic())
    finally:
        view.close()
    print(_text(found), file=sys.stderr)
    print(f'{folder.early_exit_file}\ndff evaluate {folder.path} --early-exit', file=sys.stderr)
    if arguments.json:
        print(json.dumps(found))
    return 0


def _text(found: dict[str, Any]) -> str:
    """Write what was chosen."""
    lines = [
        f'on {units.number(found["validation_samples"])} validation samples: accuracy '
        f'{units.percent(found["accuracy"], 2)} instead of '
        f'{units.percent(found["whole_accuracy"], 2)}, '
        f'{units.percent(found["macs_saved"])} of MACs saved'
    ]
    for layer, (k, threshold) in enumerate(zip(found['k'], found['thresholds'], strict=True)):
        share = found['answered'][layer] / found['validation_samples']
        sure = 'never' if k is None else f'{found["confidence"]} >= {threshold:.4g} (k {k:.3g})'
        lines.append(f'layer_{layer} answers: {sure}, {units.percent(share)} of the samples')
    return '\n'.join(lines)
