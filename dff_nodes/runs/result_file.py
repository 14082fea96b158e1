# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Results read back: what others may have changed or cut off is named, before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.runs.validation_messages import field_name, message


class EvaluationFigures(BaseModel):
    """One entry of the history."""

    epoch: int
    split: str
    samples: int
    accuracy: float
    layer_accuracy: list[float]


class ResultFigures(BaseModel):
    """What is used of a result; what an older version did not measure is not there."""

    test_accuracy: float | None = None
    train_accuracy: float | None = None
    layer_accuracy: list[float] | None = None
    epochs: int | None = None
    items: int | None = None
    seconds: float | None = None
    setup_seconds: float | None = None
    samples_per_second: float | None = None
    weights_sha256: dict[str, str] | None = None
    wire_bytes: dict[str, int] | None = None
    goodness_bytes: dict[str, int] | None = None
    parameter_bytes: dict[str, int] | None = None
    peak_rss_mb: dict[str, float] | None = None
    base_rss_mb: dict[str, float] | None = None
    restarts: dict[str, int] | None = None
    resent_items: dict[str, int] | None = None
    rejected_messages: dict[str, int] | None = None
    history: list[EvaluationFigures] | None = None
    versions: dict[str, Any] | None = None


class TradeOff(BaseModel):
    """What thresholds bring on the validation samples."""

    accuracy: float
    macs_saved: float


class EarlyExitFigures(TradeOff):
    """What is used of a calibration."""

    confidence: Literal['score', 'margin']
    thresholds: list[float | None]
    k: list[float | None]
    answered: list[int]
    validation_samples: int
    whole_accuracy: float
    classification: dict[str, str]
    curve: dict[str, list[TradeOff]]


def read_result(folder: RunFolder, needed: Sequence[str]) -> dict[str, Any]:
    """
    Read the result of a run.

    :param needed: figures that the caller cannot do without.
    :raises ConfigError: naming the file, and the figure that is missing or no figure.
    """
    tree = folder.result()
    _check(ResultFigures, tree, folder.result_file)
    missing = [key for key in needed if tree.get(key) is None]
    if missing:
        raise ConfigError(
            f'{folder.result_file} has no {", ".join(missing)}: it is not the whole result of a '
            'run, which a copy of the run folder may still have'
        )
    return tree


def read_early_exit(folder: RunFolder) -> dict[str, Any]:
    """
    Read the calibration of a run.

    :raises ConfigError: if the run was not calibrated, or trained on since; naming the file and
        the figure that is missing or no figure.
    """
    tree = folder.early_exit()
    _check(EarlyExitFigures, tree, folder.early_exit_file)
    layers = len(folder.config().network)
    for name, right in (('thresholds', layers - 1), ('k', layers - 1), ('answered', layers)):
        if len(tree[name]) != right:
            raise ConfigError(
                f'{folder.early_exit_file}: {name} must have {right} entries for {layers} layers, '
                f'got {len(tree[name])}'
            )
    return tree


def _check(figures: type[BaseModel], tree: dict[str, Any], file: Path) -> None:
    """Refuse a file whose figures are missing or no figures."""
    try:
        figures.model_validate(tree, strict=True)
    except ValidationError as error:
        issue = dict(error.errors()[0])
        text = f'{field_name(issue["loc"])} is missing' if issue['type'] == 'missing' else ''
        raise ConfigError(f'{file}: {text or message(issue)}') from None
