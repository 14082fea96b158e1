# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a processor says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dff_nodes.runs.processor import computes_bfloat16, computes_bfloat16_tiles


@pytest.mark.parametrize(
    ('line', 'native', 'tiles'),
    [
        ('flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile', True, True),
        ('flags\t\t: fpu avx2 avx512_bf16 fsrm', True, False),
        ('flags\t\t: fpu avx2 fsrm', False, False),
        ('Features\t: fp asimd bf16 i8mm', True, False),
        ('Features\t: fp asimd fphp asimdhp', False, False),
    ],
    ids=['xeon', 'epyc-zen4', 'epyc-zen3', 'graviton3', 'pi5'],
)
def test_bfloat16(tmp_path: Path, line: str, native: bool, tiles: bool) -> None:
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'proc/cpuinfo').write_text(f'processor\t: 0\n{line}\n')
    assert computes_bfloat16(tmp_path) is native
    assert computes_bfloat16_tiles(tmp_path) is tiles
