# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How much memory a process uses, and how glibc gives it back."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
MOST_KEPT = 1 << 30
"""bytes that are free at the end of the heap before some are given back"""


def rss_mb() -> float:
    """Resident memory now, MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_rss_mb() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def keep_buffers() -> None:
    """
    Let glibc reuse batch-sized buffers instead of returning them to the kernel at every step.

    By default every buffer above 128 kB is mapped afresh and its pages are cleared on first
    touch, which costs more than the arithmetic of small layers, and of the maps of a large
    convolution a third of it. The threshold for that ends at 32 MB, so nothing is mapped at all;
    one arena for all threads, as the others consist of mappings of 64 MB. Does nothing where the
    C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
