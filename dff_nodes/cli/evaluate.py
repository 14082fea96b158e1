# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Measure the accuracy of a trained run on the test set, or what stands in its place."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from dff_nodes.cli.arguments import add_use_of_weights
from dff_nodes.cli.early_exit import compare_early_exit
from dff_nodes.cli.view import make_view
from dff_nodes.runs.run_folder import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('run', help='run folder')
    parser.add_argument(
        '--early-exit',
        action='store_true',
        help='on the test set, first with the whole network, then with samples answered by the '
        'first layer that is sure (dff calibrate chooses how sure)',
    )
    add_use_of_weights(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate."""
    began = time.monotonic()
    folder = open_run(arguments.run)
    if arguments.early_exit:
        return compare_early_exit(folder, arguments, run_task)
    view = make_view(sys.stderr)
    try:
        result = run_task('evaluate', folder, arguments, view, began)
    finally:
        view.close()
    figures = {
        'test_accuracy': result['test_accuracy'],
        'layer_accuracy': result['layer_accuracy'],
        'samples': result['history'][-1]['samples'],
        'seconds': result['seconds'],
        'wire_bytes': result['wire_bytes'],
        'weights_sha256': result['weights_sha256'],
    }
    if 'early_exit' in result:
        figures['early_exit'] = result['early_exit']
    each = ', '.join(f'{accuracy:.2%}' for accuracy in figures['layer_accuracy'])
    print(
        f'{result["tested_on"]} accuracy {figures["test_accuracy"]:.2%} on '
        f'{figures["samples"]} samples (layers: {each}) in {figures["seconds"]:.1f} s',
        file=sys.stderr,
    )
    if arguments.json:
        print(json.dumps(figures))
    return 0


def run_task(
    task: str,
    folder: Any,
    arguments: argparse.Namespace,
    view: Any,
    began: float,
    images: str = '',
) -> dict[str, Any]:
    """Run a task over the layer nodes or in this process, and give what it found."""
    if arguments.reference:
        from dff_nodes.schedules.run_reference import run_reference

        return run_reference(task, folder, arguments.set, view.handle, began, images)
    from dff_nodes.nodes.local_run import local_run

    return local_run(task, folder, view.handle, arguments.set, images)
