# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""An evaluation of the whole network and one by early exit, side by side."""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from dff_nodes.cli.view import make_view
from dff_nodes.runs import units
from dff_nodes.runs.result_file import read_early_exit
from dff_nodes.runs.run_folder import RunFolder

RunTask = Callable[..., dict[str, Any]]


def classification_overrides(calibration: dict[str, Any]) -> list[str]:
    """Give the settings by which the calibrated network classifies."""
    return [
        f'classification.{key}={value}' for key, value in calibration['classification'].items()
    ]


def exit_overrides(calibration: dict[str, Any]) -> list[str]:
    """Give the settings that evaluate by a calibration's thresholds."""
    return [
        *classification_overrides(calibration),
        f'early_exit.thresholds={json.dumps(calibration["thresholds"])}',
        f'early_exit.confidence={calibration["confidence"]}',
    ]


def compare_early_exit(folder: RunFolder, arguments: argparse.Namespace, run_task: RunTask) -> int:
    """
    Evaluate twice on the test set and print what the early exit saved.

    Never on the validation samples, on which the thresholds were chosen.
    """
    calibration = read_early_exit(folder)
    on_test_set = 'data.validation_samples=0'
    whole_settings = [*classification_overrides(calibration), on_test_set]
    exit_settings = [*exit_overrides(calibration), on_test_set]
    whole = _evaluated(folder, arguments, run_task, whole_settings)
    early = _evaluated(folder, arguments, run_task, exit_settings)
    figures = side_by_side(whole, early)
    figures |= {
        'run': folder.name,
        'dataset': folder.config().data.dataset,
        'split': 'test',
        'confidence': calibration['confidence'],
        'thresholds': calibration['thresholds'],
    }
    _print(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0


def _evaluated(
    folder: RunFolder, arguments: argparse.Namespace, run_task: RunTask, settings: list[str]
) -> dict[str, Any]:
    changed = copy.copy(arguments)
    changed.set = [*arguments.set, *settings]
    view = make_view(sys.stderr)
    try:
        return run_task('evaluate', folder, changed, view, time.monotonic())
    finally:
        view.close()


def side_by_side(whole: dict[str, Any], early: dict[str, Any]) -> dict[str, Any]:
    """
    Compare two results of the same samples.

    :returns: with `whole` and `early` of each: accuracy, seconds, bytes (None in one process);
        what was saved as shares; points of accuracy lost.
    """
    exits = early['early_exit']
    samples = sum(exits['answered'])
    both = {'whole': _of(whole), 'early': _of(early)}
    before, after = both['whole']['bytes'], both['early']['bytes']
    return both | {
        'samples': samples,
        'points_lost': 100 * (whole['test_accuracy'] - early['test_accuracy']),
        'answered': [count / samples for count in exits['answered']],
        'answered_accuracy': [
            right / count if count else None
            for right, count in zip(exits['right'], exits['answered'], strict=True)
        ],
        'mean_layers': exits['mean_layers'],
        'macs_saved': exits['macs_saved'],
        'bytes_saved': 1 - after / before if before else None,
        'time_ratio': early['seconds'] / whole['seconds'],
        'answers_sha256': exits['answers_sha256'],
        'weights_sha256': early['weights_sha256'],
    }


def _of(result: dict[str, Any]) -> dict[str, Any]:
    sent = sum(result['wire_bytes'].values()) + sum(result['goodness_bytes'].values())
    # In one process nothing is sent.
    crossed = any(result['wire_bytes'].values())
    return {
        'accuracy': result['test_accuracy'],
        'seconds': result['seconds'],
        'bytes': sent if crossed else None,
    }


def _print(figures: dict[str, Any]) -> None:
    """Write a table for people."""
    from dff_nodes.cli.tables import make_console, table, title

    console = make_console(sys.stderr)
    whole, early = figures['whole'], figures['early']
    layers = len(figures['answered'])
    rows = [
        ['accuracy', *(units.percent(each['accuracy'], 2) for each in (whole, early))]
        + [f'{figures["points_lost"]:.2f} points lost'],
        ['layers passed', f'{layers}', f'{figures["mean_layers"]:.2f}', ''],
        ['MACs', '100 %', units.percent(1 - figures['macs_saved']), _saved(figures['macs_saved'])],
        ['bytes', *(units.size(each['bytes']) for each in (whole, early))]
        + [_saved(figures['bytes_saved'])],
        ['time', *(units.duration(each['seconds']) for each in (whole, early))]
        + [f'{figures["time_ratio"]:.2f} times'],
    ]
    samples = units.number(figures['samples'])
    title(console, f'Test set of {figures["dataset"]}, {samples} samples')
    console.print(table(console, ['', 'whole network >', 'early exit >', ' >'], rows))
    each = [
        f'layer_{layer}: {units.percent(share)} ({units.percent(accuracy, 2)} right)'
        for layer, (share, accuracy) in enumerate(
            zip(figures['answered'], figures['answered_accuracy'], strict=True)
        )
    ]
    console.print(f' answered by {", ".join(each)}', highlight=False)


def _saved(share: float | None) -> str:
    return f'{units.percent(share)} saved'
