# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is told of a run while it goes on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dff_nodes.runs.learning_config import DataConfig
from dff_nodes.schedules.stream import Evaluation


def evaluation_event(evaluation: Evaluation, data: DataConfig) -> dict[str, Any]:
    """Make the progress event of an evaluation; split `test` is of what data.tested_on says."""
    return {'event': 'evaluation', **asdict(evaluation), 'tested_on': data.tested_on}


def event_line(event: dict[str, Any]) -> str | None:
    """Write an event as a line of a log; None for those that are not worth one."""
    kind = event['event']
    if kind in ('phase', 'warning'):
        return event['text']
    if kind == 'evaluation':
        each = ', '.join(f'{accuracy:.2%}' for accuracy in event['layer_accuracy'])
        split = event['tested_on'] if event['split'] == 'test' else event['split']
        return (
            f'epoch {event["epoch"] + 1}: {split} accuracy {event["accuracy"]:.2%} '
            f'(layers: {each})'
        )
    if kind == 'result':
        result = event['result']
        return (
            f'finished in {result["seconds"]:.1f} s: {result["tested_on"]} accuracy '
            f'{result["test_accuracy"]:.2%}'
        )
    return None
