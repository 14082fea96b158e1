# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""All that a run folder tells of its run, whether it has finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dff_nodes.runs.config import Config, layer_names
from dff_nodes.runs.metrics import MetricsRow, read_metrics
from dff_nodes.runs.result_file import read_early_exit, read_result
from dff_nodes.runs.run_folder import RunFolder


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run."""

    name: str
    config: Config
    config_text: str
    result: dict[str, Any] | None
    """None if the run has not finished"""
    history: list[dict[str, Any]]
    """evaluations in their order: epoch, split, samples, accuracy, layer_accuracy"""
    rows: list[MetricsRow]
    """in the order of the items; what was trained again after a restart is there once"""
    early_exit: dict[str, Any] | None = None
    """what dff calibrate chose, see RunFolder.early_exit"""

    @property
    def layers(self) -> list[str]:
        """Names of the layers, first to last."""
        return layer_names(self.config)

    @property
    def counted(self) -> str:
        """What rows are numbered by: items travel, within a chapter a layer counts its steps."""
        return 'training step' if self.config.schedule.chapters else 'item'

    def of_layer(self, layer: int) -> list[MetricsRow]:
        """Rows of one layer."""
        return [row for row in self.rows if row.layer == layer]

    def figure(self, key: str) -> dict[str, Any]:
        """Give a part of the result, {} where there is none."""
        return (self.result or {}).get(key) or {}

    @property
    def is_one_process(self) -> bool:
        """Whether all layers ran in one process (`--reference`): nothing crossed a network."""
        return self.result is not None and not any(self.figure('wire_bytes').values())


def read_run(folder: RunFolder) -> RunRecord:
    """
    Read a run folder.

    :raises ConfigError: if a file of it is there and not readable.
    """
    config = folder.config()
    result = read_result(folder, ['seconds']) if folder.result_file.exists() else None
    history = folder.history() if result is None else result.get('history') or []
    rows = read_metrics(folder.metrics_file) if folder.metrics_file.exists() else []
    text = folder.config_file.read_text(encoding='utf-8') if folder.config_file.exists() else ''
    early_exit = read_early_exit(folder) if result and folder.early_exit_file.exists() else None
    rows = without_repeats(rows)
    return RunRecord(folder.name, config, text, result, history, rows, early_exit)


def without_repeats(rows: list[MetricsRow]) -> list[MetricsRow]:
    """Leave out what a resumed run trained a second time: the later rows are those that count."""
    kept: list[MetricsRow] = []
    first_item: dict[int, int] = {}
    for row in reversed(rows):
        if row.item < first_item.get(row.layer, row.item + 1):
            kept.append(row)
            first_item[row.layer] = row.item
    return kept[::-1]
