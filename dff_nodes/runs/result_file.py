# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""result.json read back: what others may have changed or cut off is named, before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def read_result(folder: RunFolder, needed: Sequence[str]) -> dict[str, Any]:
    """
    Read the result of a run.

    :param needed: figures that the caller cannot do without.
    :raises ConfigError: naming the file, and the figure that is missing or no figure.
    """
    tree = folder.result()
    try:
        ResultFigures.model_validate(tree, strict=True)
    except ValidationError as error:
        issue = dict(error.errors()[0])
        text = f'{field_name(issue["loc"])} is missing' if issue['type'] == 'missing' else ''
        raise ConfigError(f'{folder.result_file}: {text or message(issue)}') from None
    missing = [key for key in needed if tree.get(key) is None]
    if missing:
        raise ConfigError(
            f'{folder.result_file} has no {", ".join(missing)}: it is not the whole result of a '
            'run, which a copy of the run folder may still have'
        )
    return tree
