# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How much memory a process uses, and how glibc gives it back."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
LARGEST_MMAP_THRESHOLD = 32 << 20
KEPT, MOST_KEPT = 256 << 20, 1 << 30
"""bytes that are free at the end of the heap before some are given back"""


def rss_mb() -> float:
    """Resident memory now, MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_rss_mb() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def share_one_heap() -> None:
    """
    Let all threads that start from now on take their memory from one heap.

    By default glibc gives each thread heaps of its own, of 64 MB at most, and returns one to the
    kernel whenever it is empty. A layer of convolutions emptied some with every batch: it had
    15 000 pages cleared for each, an eighth of its processor time, and was 6 to 11 % larger.
    Does nothing where the C library has no mallopt.
    """
    _mallopt(M_ARENA_MAX, 1)


def keep_buffers(largest: int = 0) -> None:
    """
    Let glibc reuse batch-sized buffers instead of returning them to the kernel at every step.

    By default every buffer above 128 kB is mapped afresh and its pages are cleared on first
    touch, which costs more than the arithmetic of small layers. The threshold for that ends at 32
    MB: of larger maps of a convolution clearing is still a third of the work, so where there are
    such nothing is mapped at all. That takes about a fifth more memory, so not for the sake of
    large weights. In a process of several threads it needs `share_one_heap` before they start.
    Does nothing where the C library has no mallopt.

    :param largest: bytes of the largest buffer that comes and goes with each batch.
    """
    if largest > LARGEST_MMAP_THRESHOLD:
        _mallopt(M_MMAP_MAX, 0)
        _mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
    else:
        _mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        _mallopt(M_TRIM_THRESHOLD, KEPT)


def _mallopt(parameter: int, value: int) -> None:
    """Set one of glibc's parameters; nothing where the C library has none."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(parameter, value)
