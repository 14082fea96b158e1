# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What this machine's processor has instructions for."""

from __future__ import annotations

from pathlib import Path

BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}
"""of /proc/cpuinfo, on x86_64 and on ARM"""


def computes_bfloat16(root: Path = Path('/')) -> bool:
    """Whether the processor multiplies bfloat16 itself; else PyTorch does it in many steps."""
    return not BFLOAT16_FLAGS.isdisjoint((root / 'proc/cpuinfo').read_text().split())
