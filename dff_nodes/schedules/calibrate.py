# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""From the scores of the whole network to the thresholds of an early exit."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import read_facts
from dff_nodes.learning.calibration import Choice, Measured, Point, best_choice, choose
from dff_nodes.learning.early_exit import scores_so_far
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.macs import network_macs
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.runs.run_folder import RunFolder
from dff_nodes.schedules.stream import StreamCoordinator
from dff_nodes.seeds import generator

TRAINING_SAMPLES = 10_000
"""that the statistics are of; more change their second digit"""
KINDS = ('score', 'margin')
"""of confidence that are tried; the published one first"""


def check_calibration(folder: RunFolder) -> None:
    """Refuse a run whose thresholds could be chosen only on what it was trained or tested on."""
    config = folder.config()
    if config.is_graph:
        raise ConfigError(
            f'run {folder.path} is of a graph, whose nodes all pass through the whole network '
            'together: early exit is for samples of their own'
        )
    if len(config.network) == 1:
        raise ConfigError(f'run {folder.path} has one layer: no sample can leave before the last')
    if not config.data.validation_samples:
        tenth = max(1, read_facts(config.data).train_samples // 10)
        raise ConfigError(
            f'run {folder.path} set no samples aside to choose thresholds on '
            '(data.validation_samples is 0): train one with '
            f'--set data.validation_samples={tenth}'
        )


def calibration_data(dataset: Dataset) -> Dataset:
    """Put a random part of the training samples before the validation samples, as test set."""
    samples = len(dataset.y_train)
    drawn = torch.randperm(samples, generator=generator(0, 'calibration'))[:TRAINING_SAMPLES]
    drawn = drawn.sort().values
    x = torch.cat((dataset.x_train[drawn], dataset.x_test))
    y = torch.cat((dataset.y_train[drawn], dataset.y_test))
    facts = replace(dataset.facts, test_samples=len(y))
    return Dataset(facts, x[:0], y[:0], x, y)


def calibration(
    resolved: ResolvedRun, coordinator: StreamCoordinator, validation_samples: int
) -> dict[str, Any]:
    """
    Choose the thresholds once all samples of `calibration_data` have been scored.

    :returns: what early_exit.json holds, without what tells whose it is.
    """
    depths = _depths(resolved, coordinator)
    labels = coordinator.dataset.y_test
    training = [each[:-validation_samples] for each in depths]
    validation = [each[-validation_samples:] for each in depths]
    macs = network_macs(resolved)
    choices, measured = {}, {}
    for kind in KINDS:
        measured[kind] = Measured.of(
            training,
            labels[:-validation_samples],
            validation,
            labels[-validation_samples:],
            kind,
        )
        max_loss = resolved.config.early_exit.max_loss
        choices[kind] = choose(measured[kind], macs, max_loss)
    choice = best_choice(list(choices.values()))
    whole = float(measured[choice.kind].right[-1].double().mean())
    return {
        'max_loss': resolved.config.early_exit.max_loss,
        'training_samples': len(training[0]),
        'validation_samples': validation_samples,
        'whole_accuracy': whole,
        'macs': macs,
        **_told(choice, measured[choice.kind]),
        'curve': {kind: _curve(each.curve) for kind, each in choices.items()},
    }


def _depths(resolved: ResolvedRun, coordinator: StreamCoordinator) -> list[Tensor]:
    """Give the scores of the layers up to each: float32 [samples, classes]."""
    _, *layers = (torch.cat(parts) for parts in zip(*coordinator.answers, strict=True))
    depths: list[Tensor] = []
    for layer, scores in enumerate(layers):
        before = depths[-1] if depths else None
        counted = resolved.config.classification.layers
        depths.append(scores_so_far(before, scores, layer, counted))
    return depths


def _told(choice: Choice, measured: Measured) -> dict[str, Any]:
    return {
        'confidence': choice.kind,
        'k': choice.ks,
        'mean': measured.mean[:-1].tolist(),
        'std': measured.deviation[:-1].tolist(),
        'thresholds': choice.thresholds,
        **_point(choice.point),
    }


def _curve(curve: list[tuple[float, Point]]) -> list[dict[str, Any]]:
    return [{'k': k, **_point(point)} for k, point in curve]


def _point(point: Point) -> dict[str, Any]:
    return asdict(point)
