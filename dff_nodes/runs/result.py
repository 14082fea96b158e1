# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""result.json: the one place where a figure comes from."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Protocol

import dff_nodes
from dff_nodes.runs.resolve import ResolvedRun


class Evaluation(Protocol):
    """Accuracy of each layer and of all together on one split."""

    epoch: int
    split: str
    samples: int
    accuracy: float
    layer_accuracy: list[float]


@dataclass(frozen=True)
class LayerReport:
    """What one layer tells at the end of a run."""

    weights_sha256: str
    parameter_bytes: int
    applied_sha256: str = ''
    """digest of the numbers of the items that were applied, see LayerWorker"""
    received_bytes: int = 0
    """payload taken from the layer before"""
    goodness_bytes: int = 0
    """payload of class scores sent to the coordinator"""
    resent_items: int = 0
    rejected_messages: int = 0
    restarts: int = 0
    peak_rss_mb: float = 0.0
    base_rss_mb: float = 0.0
    """resident memory with PyTorch loaded and no layer built"""
    precision: str = ''
    """of matrix products and convolutions: what compute.precision came to on its device"""


@dataclass
class RunFigures:
    """What a run measured, apart from its layers."""

    evaluations: list[Evaluation]
    items: int
    """items handled by every layer"""
    trained_samples: int
    """by this process since it started or was resumed"""
    seconds: float
    """from the first item to the end of the last evaluation"""
    setup_seconds: float
    """from the start of the command (over ROS 2, of the coordinator) to the first item"""
    coordinator_peak_rss_mb: float
    rejected_messages: int = 0
    coordinator_restarts: int = 0


def build_result(
    resolved: ResolvedRun, figures: RunFigures, layers: list[LayerReport]
) -> dict[str, Any]:
    """Collect a run's figures under the keys that DESIGN promises."""
    names = [shape.name for shape in resolved.layers]
    named = dict(zip(names, layers, strict=True))
    test = _last(figures.evaluations, 'test')
    train = _last(figures.evaluations, 'train')
    return {
        'test_accuracy': test.accuracy if test else None,
        'tested_on': resolved.config.data.tested_on,
        'train_accuracy': train.accuracy if train else None,
        'layer_accuracy': test.layer_accuracy if test else [],
        'epochs': resolved.config.training.epochs,
        'items': figures.items,
        'seconds': figures.seconds,
        'setup_seconds': figures.setup_seconds,
        'samples_per_second': figures.trained_samples / max(figures.seconds, 1e-9),
        'weights_sha256': {name: each.weights_sha256 for name, each in named.items()},
        'applied_items_sha256': {name: each.applied_sha256 for name, each in named.items()},
        'wire_bytes': {name: each.received_bytes for name, each in named.items()},
        'goodness_bytes': {name: each.goodness_bytes for name, each in named.items()},
        'parameter_bytes': {name: each.parameter_bytes for name, each in named.items()},
        'peak_rss_mb': {'coordinator': figures.coordinator_peak_rss_mb}
        | {name: each.peak_rss_mb for name, each in named.items()},
        'base_rss_mb': {name: each.base_rss_mb for name, each in named.items()},
        'precision': {name: each.precision for name, each in named.items()},
        'restarts': {'coordinator': figures.coordinator_restarts}
        | {name: each.restarts for name, each in named.items()},
        'resent_items': {name: each.resent_items for name, each in named.items()},
        'rejected_messages': {'coordinator': figures.rejected_messages}
        | {name: each.rejected_messages for name, each in named.items()},
        'history': [asdict(each) for each in figures.evaluations],
        'config_hash': resolved.hash,
        'versions': versions(),
    }


def _last(evaluations: list[Evaluation], split: str) -> Evaluation | None:
    return next((each for each in reversed(evaluations) if each.split == split), None)


def versions() -> dict[str, str]:
    """Versions of what a run was made with, and the machine's kind."""
    return {
        'dff_nodes': dff_nodes.__version__,
        'python': platform.python_version(),
        'torch': metadata.version('torch'),
        'ros': os.environ.get('ROS_DISTRO', 'none'),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores',
    }
