# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One numbered message of the stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dff_nodes.learning.batch import Batch


class Kind(IntEnum):
    """What a layer does with an item; numbers as in Activations.msg."""

    TRAIN = 0
    SCORE = 1
    EVALUATE = 2
    MARK = 3


class Mark(IntEnum):
    """What a MARK marks; numbers as in Activations.msg."""

    NONE = 0
    END_OF_EPOCH = 1
    END_OF_RUN = 2


@dataclass(frozen=True)
class Item:
    """
    One item of the totally ordered stream.

    Every layer handles items strictly in order of `number`, which has no gaps.
    """

    number: int
    kind: Kind
    epoch: int
    batch: Batch | None = None
    """None for a MARK"""
    mark: Mark = Mark.NONE
    checkpoint: bool = False
    """every layer saves its state behind this item"""
