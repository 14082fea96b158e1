# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Random generators named by what they are for, so that no draw depends on another."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """
    Make the generator of one purpose, for example `generator(0, 'shift', epoch, batch)`.

    The same arguments give the same stream of numbers in every process and at every time;
    different ones give independent streams.
    """
    name = '/'.join(str(part) for part in (seed, *purpose))
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], 'little') >> 1)
