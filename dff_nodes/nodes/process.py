# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A node as a process: never left behind by the command that started it."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import time

import psutil

PR_SET_PDEATHSIG = 1
SCHED_SETATTR = {'x86_64': 314, 'aarch64': 274}
"""number of the system call, which Python has no function for"""
SLICE_NS = 20_000_000
PARENT_VARIABLE = 'DFF_PARENT_PID'
EVENTS_VARIABLE = 'DFF_EVENTS'
"""json: the coordinator writes its events to standard output, for the command that started it"""
REPLACED_STATUS = 3
"""exit status of a node that another one has replaced: no failure, nor to be started again"""
LAST_EVENTS = ('result', 'evaluated', 'calibrated', 'answers')
"""one of these ends what a coordinator tells, and says what came of its run"""


def die_with_parent() -> None:
    """
    Ask the kernel for SIGTERM when the parent dies, if the parent asked for that.

    Also a parent that is killed with SIGKILL leaves no node behind. Nodes that were started by
    launch or by hand are not touched.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        # The parent died before the kernel was asked.
        os.kill(os.getpid(), signal.SIGTERM)


def prefer_throughput() -> None:
    """
    Ask the kernel for long uninterrupted slices, for this thread and those that it starts.

    Nodes that share cores preempt each other thousands of times a second, at every message that
    wakes a thread, each time with cold caches: a fifth of the run on two cores. SCHED_BATCH ends
    that on every kernel; the slice counts from Linux 6.12 on and is ignored before.
    """
    number = SCHED_SETATTR.get(platform.machine())
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # struct sched_attr, version 0: size, policy, flags, nice, priority, slice, deadline, period
    attributes = struct.pack('IIQiIQQQ', 48, os.SCHED_BATCH, 0, nice, 0, SLICE_NS, 0, 0)
    if number is not None and ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        # A container may forbid it; the run is the same, only slower.
        return


def process_started_s() -> float:
    """Monotonic time at which this process was started, before anything was imported."""
    return time.monotonic() - (time.time() - psutil.Process().create_time())
