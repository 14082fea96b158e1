# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a process computes with: device, threads, precision, determinism."""

from __future__ import annotations

import os

import torch

from dff_nodes.learning.optimizers import make_optimizer
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.layers import GroupOptimizer
from dff_nodes.runs.memory import keep_buffers
from dff_nodes.runs.processor import computes_bfloat16
from dff_nodes.runs.running_config import ComputeConfig


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


def compute_precision(wanted: str, device: torch.device) -> torch.dtype:
    """
    Turn compute.precision into the dtype of matrix products and convolutions.

    bfloat16 keeps the range of float32 and 8 of its 24 bits of precision. A processor with
    instructions for it computes convolutions about twice as fast (measured on an AMD EPYC with
    AVX512-BF16), one without them several times slower.
    """
    if wanted == 'auto':
        cuda = device.type == 'cuda'
        native = torch.cuda.is_bf16_supported(False) if cuda else computes_bfloat16()
        return torch.bfloat16 if native else torch.float32
    return getattr(torch, wanted)


def precision_here(config: ComputeConfig) -> str:
    """Name the precision that a node on this device computes with, for what it reports."""
    dtype = compute_precision(config.precision, compute_device(config.device))
    return str(dtype).removeprefix('torch.')


def prepare_torch(threads: int, device: torch.device, buffer_bytes: int = 0) -> None:
    """
    Fix what decides the arithmetic of a process, and how it treats memory.

    To be called on the thread that computes, see `smallest_become_zero`.

    On the CPU a number of threads is enough besides; PyTorch's switch for deterministic
    algorithms would load torch.compile's machinery there, 77 MB, for nothing.

    :param buffer_bytes: of the largest buffer that comes and goes with each batch.
    """
    smallest_become_zero()
    torch.set_num_threads(threads)
    keep_buffers(buffer_bytes)
    if device.type == 'cuda':
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        # float32 is to mean float32: cuDNN would take 10 of its 23 bits for convolutions.
        torch.backends.cudnn.allow_tf32 = False


def smallest_become_zero() -> None:
    """
    Let numbers below 1e-38 become 0 on this thread, and on those that it starts from now on.

    Adam's means of weights that get no gradient any more would never: by 0.9 times one of the last
    few numbers above 0 the nearest is that number itself, and a processor takes many times as long
    for each. After 400 epochs of a small network they were 40 % of the fourth layer's, and took a
    sixth of all training time. Every thread whose arithmetic a run's result depends on does it,
    in nodes and in the reference, or they would not be the same bits.
    """
    torch.set_flush_denormal(True)


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
