# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The result of a run with chapters, under the keys of every other run's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dff_nodes.runs.config import layer_names, worker_names
from dff_nodes.runs.result import versions
from dff_nodes.schedules.chapters import ChapterPlan
from dff_nodes.schedules.stream import Evaluation


@dataclass(frozen=True)
class WorkerReport:
    """What one worker tells at the end of a run."""

    received_bytes: int = 0
    """payload of the parts that others made"""
    resent_chunks: int = 0
    """times that what was lost was asked for again"""
    rejected_messages: int = 0
    restarts: int = 0
    peak_rss_mb: float = 0.0
    base_rss_mb: float = 0.0
    precision: str = ''
    """of matrix products and convolutions: what compute.precision came to on its device"""
    own_accuracy: float | None = None
    """of the final network on this worker's own training data, where that is private"""
    computing_s: float = 0.0
    waiting_s: float = 0.0


@dataclass(frozen=True)
class ChapterFigures:
    """What a run measured, apart from its workers."""

    evaluations: list[Evaluation]
    trained_samples: int
    """samples times layers, of the whole run"""
    seconds: float
    """from the first chapter's begin to the end of the last evaluation"""
    training_seconds: float
    """from the first chapter's begin until the last part was made"""
    setup_seconds: float
    coordinator_peak_rss_mb: float
    weights_sha256: list[str]
    """of each layer"""
    rejected_messages: int = 0
    coordinator_restarts: int = 0
    received_bytes: int = 0
    """by the coordinator, for its evaluations"""


def chapter_result(
    plan: ChapterPlan, figures: ChapterFigures, workers: list[WorkerReport]
) -> dict[str, Any]:
    """Collect a run's figures; items are chapters, and nodes are workers."""
    config = plan.resolved.config
    layers, names = layer_names(config), worker_names(config)
    named = dict(zip(names, workers, strict=True))
    test, train = (_last(figures.evaluations, split) for split in ('test', 'train'))
    parameters = {shape.name: 4 * shape.parameters for shape in plan.resolved.layers}
    own = {name: each.own_accuracy for name, each in named.items()}
    return {
        'test_accuracy': test.accuracy if test else None,
        'tested_on': config.data.tested_on,
        'train_accuracy': train.accuracy if train else None,
        'layer_accuracy': test.layer_accuracy if test else [],
        'epochs': config.training.epochs,
        'items': plan.chapters,
        'seconds': figures.seconds,
        'training_seconds': figures.training_seconds,
        'setup_seconds': figures.setup_seconds,
        'samples_per_second': figures.trained_samples / plan.layers / max(figures.seconds, 1e-9),
        'weights_sha256': dict(zip(layers, figures.weights_sha256, strict=True)),
        'wire_bytes': {'coordinator': figures.received_bytes}
        | {name: each.received_bytes for name, each in named.items()},
        'goodness_bytes': {},
        'parameter_bytes': parameters,
        'peak_rss_mb': {'coordinator': figures.coordinator_peak_rss_mb}
        | {name: each.peak_rss_mb for name, each in named.items()},
        'base_rss_mb': {name: each.base_rss_mb for name, each in named.items()},
        'precision': {name: each.precision for name, each in named.items()},
        'restarts': {'coordinator': figures.coordinator_restarts}
        | {name: each.restarts for name, each in named.items()},
        'resent_items': {name: each.resent_chunks for name, each in named.items()},
        'rejected_messages': {'coordinator': figures.rejected_messages}
        | {name: each.rejected_messages for name, each in named.items()},
        'computing_seconds': {name: each.computing_s for name, each in named.items()},
        'waiting_seconds': {name: each.waiting_s for name, each in named.items()},
        **({'shard_accuracy': own} if any(each is not None for each in own.values()) else {}),
        'schedule': config.schedule.name,
        'history': [asdict(each) for each in figures.evaluations],
        'config_hash': plan.resolved.hash,
        'versions': versions(),
    }


def _last(evaluations: list[Evaluation], split: str) -> Evaluation | None:
    return next((each for each in reversed(evaluations) if each.split == split), None)
