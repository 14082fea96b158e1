# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How a process treats its memory, seen in processes of their own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest

THREADS = """
    import ctypes, sys, threading
    from dff_nodes.runs.memory import share_one_heap

    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
    if sys.argv[1] == 'shared':
        share_one_heap()
    # At the same time, or one would take the heap that another left.
    both = threading.Barrier(2)

    def allocate():
        libc.malloc(100_000)
        both.wait()

    threads = [threading.Thread(target=allocate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = ctypes.c_void_p(libc.fopen(b'/dev/stdout', b'w'))
    libc.malloc_info(0, file)
    libc.fflush(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'malloc_info'), reason='another C library')
@pytest.mark.parametrize(('what', 'heaps'), [('shared', 1), ('own', 3)])
def test_threads_share_one_heap(what: str, heaps: int) -> None:
    """And without being told to they do not, so that the other case can fail."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(THREADS), what],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count('<heap nr=') == heaps
