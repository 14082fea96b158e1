# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Figures as people read them; None and what is not finite are a dash."""

from __future__ import annotations

import math

DASH = '–'


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits: `0.0213`, `1 234 567`."""
    if not _known(value):
        return DASH
    if isinstance(value, int) or abs(value) >= 10 ** (digits - 1):
        return f'{value:,.0f}'.replace(',', ' ')
    text = f'{value:.{digits}g}'
    return f'{value:.2e}' if 'e' in text else text


def percent(share: float | None, decimals: int = 1) -> str:
    """Write a share from 0 to 1: `98.7 %`."""
    return f'{100 * share:.{decimals}f} %' if _known(share) else DASH


def size(count: float | None) -> str:
    """Write a number of bytes: `512 B`, `1.4 MB`; 1 kB is 1000 bytes."""
    if not _known(count):
        return DASH
    unit = 'B'
    for larger in ('kB', 'MB', 'GB', 'TB'):
        if abs(count) < 1000:
            break
        count, unit = count / 1000, larger
    return f'{count:.0f} {unit}' if unit == 'B' or count >= 99.95 else f'{count:.1f} {unit}'


def megabytes(value: float | None) -> str:
    """Write a number of megabytes: `312 MB`."""
    return size(value * 1e6) if _known(value) else DASH


def shape(sizes: tuple[int, ...]) -> str:
    """Write the shape of a sample: `784`, `28 × 28 × 1`."""
    return ' × '.join(str(each) for each in sizes)


def duration(seconds: float | None) -> str:
    """Write a time: `12.3 s`, `4 min 05 s`, `2 h 07 min`."""
    if not _known(seconds):
        return DASH
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    whole = round(seconds)
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02} min'


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
