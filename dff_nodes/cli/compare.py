# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Print finished runs side by side."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from dff_nodes.cli.tables import make_console, table
from dff_nodes.runs import units
from dff_nodes.runs.config_file import differences
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.result_file import read_result
from dff_nodes.runs.run_folder import RunFolder, open_run

VALIDATION = ' val: on training samples set aside (data.validation_samples), not on the test set'

NEEDED = (
    'layer_accuracy',
    'epochs',
    'seconds',
    'samples_per_second',
    'wire_bytes',
    'goodness_bytes',
    'parameter_bytes',
    'peak_rss_mb',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('runs', metavar='RUN', nargs='+', help='folders of finished runs')


def run(arguments: argparse.Namespace) -> int:
    """Print what the runs reached, and the settings in which they differ from the first."""
    folders = [open_run(each) for each in arguments.runs]
    figures = [run_figures(folder) for folder in folders]
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    columns = ['run', 'test >', 'best layer >', 'epochs >', 'time >']
    columns += ['samples/s >', 'bytes >', 'memory >', 'parameters >']
    console.print(table(console, columns, [_row(each) for each in figures]))
    if any(each['tested_on'] == 'validation' for each in figures):
        console.print(VALIDATION, highlight=False)
    for folder, each in zip(folders[1:], figures[1:], strict=True):
        each['differences'] = differences(folders[0].config(), folder.config())
        heading = f'{folder.name} differs from {folders[0].name} (here) in:'
        lines = each['differences'] or ['nothing that can change the result']
        console.print('\n'.join(['', heading, *(f'  {line}' for line in lines)]), markup=False)
    if arguments.json:
        print(json.dumps({'runs': figures}))
    return 0


def run_figures(folder: RunFolder) -> dict[str, Any]:
    """
    Give what is compared of a run.

    :raises ConfigError: if it has not finished, or its result is not whole.
    """
    if not folder.result_file.exists():
        raise ConfigError(
            f'run {folder.path} has not finished: go on with it by '
            f'dff train --resume {folder.path}'
        )
    result = read_result(folder, NEEDED)
    peaks = result['peak_rss_mb']
    layers = [peak for node, peak in peaks.items() if node != 'coordinator']
    return {
        'run': folder.name,
        'test_accuracy': result.get('test_accuracy'),
        'tested_on': folder.config().data.tested_on,
        'layer_accuracy': result['layer_accuracy'],
        'epochs': result['epochs'],
        'seconds': result['seconds'],
        'samples_per_second': result['samples_per_second'],
        'wire_bytes': sum(result['wire_bytes'].values()) + sum(result['goodness_bytes'].values()),
        'peak_rss_mb': max(layers, default=peaks.get('coordinator')),
        'parameters': sum(result['parameter_bytes'].values()) // 4,
    }


def _row(figures: dict[str, Any]) -> list[str]:
    validation = 'val ' if figures['tested_on'] == 'validation' else ''
    return [
        figures['run'],
        validation + units.percent(figures['test_accuracy'], 2),
        units.percent(max(figures['layer_accuracy'], default=None), 2),
        units.number(figures['epochs']),
        units.duration(figures['seconds']),
        units.number(figures['samples_per_second']),
        units.size(figures['wire_bytes']),
        units.megabytes(figures['peak_rss_mb']),
        units.number(figures['parameters']),
    ]
