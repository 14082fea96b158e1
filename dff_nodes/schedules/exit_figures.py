# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What an early exit saved in an evaluation, and which layers answered."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from dff_nodes.runs.macs import mean_macs, network_macs
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.stream import StreamCoordinator


def exit_figures(resolved: ResolvedRun, coordinator: StreamCoordinator) -> dict[str, Any]:
    """
    Sum up an evaluation by early exit.

    :returns: samples, and right answers, of each layer; mean number of layers that a sample has
        passed; MACs of a sample, and the share saved; a digest of the answers' scores and layers.
    """
    layers, macs = len(resolved.layers), network_macs(resolved)
    scores = torch.cat([each[0] for each in coordinator.answers])
    answered_by = torch.cat(coordinator.answered_by)
    answered = torch.bincount(answered_by, minlength=layers)
    right = scores.argmax(1) == coordinator.dataset.y_test
    mean = mean_macs(macs, answered.tolist())
    return {
        'answered': answered.tolist(),
        'right': torch.bincount(answered_by[right], minlength=layers).tolist(),
        'mean_layers': float((answered_by + 1).double().mean()),
        'macs': mean,
        'macs_saved': 1 - mean / sum(macs),
        'answers_sha256': hashlib.sha256(
            scores.numpy().tobytes() + answered_by.numpy().tobytes()
        ).hexdigest(),
    }
