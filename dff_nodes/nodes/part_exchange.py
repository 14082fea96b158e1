# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What both ends of the exchange of parts agree on: topics, and how large a part can be."""

from __future__ import annotations

from torch import Tensor

from dff_nodes.nodes.replication import HEAD_BYTES
from dff_nodes.schedules.chapters import COORDINATOR, ChapterPlan, Need, part_bytes

ASK_S = 0.25
"""between two looks whether what was asked for gets on"""
Tensors = dict[str, Tensor]


def inbox(node: int) -> str:
    """Topic that brings chunks to a worker, or to the coordinator."""
    return 'coordinator/parts' if node == COORDINATOR else f'worker_{node}/parts'


def requests(node: int) -> str:
    """Topic that brings requests to a worker, or to the coordinator."""
    name = 'coordinator' if node == COORDINATOR else f'worker_{node}'
    return f'{name}/part_requests'


def makers(plan: ChapterPlan) -> list[int]:
    """Nodes that make parts: the workers, and the coordinator where it sends the training set."""
    sends = [COORDINATOR] if plan.exists(plan.training_set) else []
    return [*range(plan.workers), *sends]


def largest_part(plan: ChapterPlan, need: Need) -> int:
    """Bytes that a part can have on its way at most."""
    return part_bytes(plan, need) + HEAD_BYTES
