# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a process computes with: device, threads, determinism."""

from __future__ import annotations

import os

import torch

from dff_nodes.learning.optimizers import make_optimizer
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.layers import GroupOptimizer
from dff_nodes.runs.memory import keep_buffers


def compute_device(wanted: str) -> torch.device:
    """
    Turn compute.device into a device.

    :raises ConfigError: if cuda is asked for and not there.
    """
    there = torch.cuda.is_available()
    if wanted == 'cuda' and not there:
        raise ConfigError(
            "compute.device is 'cuda', but PyTorch finds no CUDA device here: "
            "use 'auto' or 'cpu', or look at `dff doctor`"
        )
    return torch.device('cuda' if there and wanted != 'cpu' else 'cpu')


def prepare_torch(threads: int, device: torch.device) -> None:
    """
    Fix what decides the arithmetic of a process, and how it treats memory.

    On the CPU a number of threads is enough; PyTorch's switch for deterministic algorithms
    would load torch.compile's machinery there, 77 MB, for nothing.
    """
    torch.set_num_threads(threads)
    keep_buffers()
    if device.type == 'cuda':
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def warm_up() -> None:
    """
    Take one gradient and one optimizer step on a tiny layer.

    The first ones start PyTorch's machinery; a node does that before it says that it is there,
    and counts it to PyTorch's footprint rather than to its layer's.
    """
    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(GroupOptimizer(), dict(layer.named_parameters()))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step(0.1)
