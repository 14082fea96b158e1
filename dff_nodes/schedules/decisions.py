# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the coordinator decided from the layers' scores, as records of the journal."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """What came of one item that all layers have scored."""

    item: int
    negatives: Tensor | None = None
    """of a SCORE item with adaptive negatives: int64 [samples], the wrong class of each"""
    correct: tuple[int, ...] = ()
    """of an EVALUATE item: right answers of all layers together, then of each"""

    def as_record(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        record: dict[str, Any] = {'item': self.item}
        if self.negatives is not None:
            data = self.negatives.numpy().astype('<u2').tobytes()
            record['negatives'] = base64.b64encode(data).decode()
        if self.correct:
            record['correct'] = list(self.correct)
        return record

    @staticmethod
    def from_record(record: dict[str, Any]) -> Decision:
        """Read what `as_record` gave."""
        negatives = None
        if 'negatives' in record:
            labels = np.frombuffer(base64.b64decode(record['negatives']), '<u2')
            negatives = torch.from_numpy(labels.astype(np.int64))
        return Decision(record['item'], negatives, tuple(record.get('correct', ())))


def decisions(records: list[dict[str, Any]]) -> list[Decision]:
    """Give the decisions among a journal's records."""
    return [Decision.from_record(record) for record in records if 'item' in record]
