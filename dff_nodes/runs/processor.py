# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What this machine's processor has instructions for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}
"""of /proc/cpuinfo, on x86_64 and on ARM"""


def computes_bfloat16(root: Path = Path('/')) -> bool:
    """Whether the processor multiplies bfloat16 itself; else PyTorch does it in many steps."""
    return not BFLOAT16_FLAGS.isdisjoint(_flags(root))


def computes_bfloat16_tiles(root: Path = Path('/')) -> bool:
    """Whether it multiplies whole tiles of bfloat16 at once (Intel AMX)."""
    return 'amx_bf16' in _flags(root)


@cache
def _flags(root: Path) -> frozenset[str]:
    return frozenset((root / 'proc/cpuinfo').read_text().split())
