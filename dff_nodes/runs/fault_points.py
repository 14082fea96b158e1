# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Places at which a test lets a node die, as a power cut would: with SIGKILL, nothing cleaned up.

`DFF_FAULTS='layer_1 AFTER_TRAIN 30; coordinator BEFORE_JOURNAL 5'` ends layer_1 when it gets there
for the 30th time, and the coordinator for the 5th. Only a node's first incarnation dies.
"""

from __future__ import annotations

import os
import signal
from enum import Enum

VARIABLE = 'DFF_FAULTS'


class FaultPoint(Enum):
    """A place between two steps whose order matters for recovery."""

    BEFORE_TRAIN = 'an item was taken, nothing was done with it'
    AFTER_TRAIN = 'the state includes the item, nothing was sent'
    AFTER_SCORES = 'the scores were sent, the activations were not'
    AFTER_PUBLISH = 'the activations were sent'
    BEFORE_CREDIT = 'items were received, the sender does not know'
    AFTER_CREDIT = 'the sender knows'
    IN_CHECKPOINT = 'the tensors are in the temporary file, the digest is not'
    BEFORE_RENAME = 'the temporary file is complete'
    AFTER_RENAME = 'the checkpoint is there, the sender does not know'
    IN_RESTORE = 'the checkpoint is loaded, nobody knows'
    IN_REPLAY = 'some items were sent again'
    IN_REPLICATION = 'some chunks of a checkpoint were sent'
    AFTER_EMIT = 'an item was sent, nothing was written down'
    BEFORE_JOURNAL = 'scores were taken and decided on, nothing was written down'
    AFTER_JOURNAL = 'a decision is written down, but not synced'
    BEFORE_RESULT = 'all is done, the result is not written'
    AFTER_RESULT = 'the result is written, nobody knows'


_armed: dict[str, int] = {}


def arm(node: str, incarnation: int) -> None:
    """Take up the faults of this process, if a test wants any."""
    for fault in filter(None, os.environ.get(VARIABLE, '').split(';')):
        name, point, count = fault.split()
        if name == node and incarnation == 1:
            _armed[FaultPoint[point].name] = int(count)


def reach(point: FaultPoint) -> None:
    """Die here, if it is time."""
    if point.name in _armed:
        _armed[point.name] -= 1
        if _armed[point.name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
