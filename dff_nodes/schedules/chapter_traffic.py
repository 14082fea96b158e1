# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which parts travel in a run with chapters, from whom, to whom, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dff_nodes.runs.config import worker_names
from dff_nodes.runs.traffic import COORDINATOR, NodeTraffic, collect
from dff_nodes.schedules.chapters import COORDINATOR as COORDINATOR_NUMBER
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part, part_bytes
from dff_nodes.schedules.holdings import Holdings


@dataclass(frozen=True)
class Transfer:
    """A part that one node asks another for."""

    need: Need
    sender: int
    receiver: int | None
    """worker, None for the coordinator"""
    purpose: Part | None
    """
    what the receiver makes of it; None for evaluations, the network at the end, and a training set
    """


def transfers_of(plan: ChapterPlan, worker: int) -> Iterator[Transfer]:
    """What a worker receives, in its order; the same as schedules.chapter_worker asks for."""
    if plan.exists(plan.training_set):
        yield Transfer(Need(plan.training_set, whole=True), COORDINATOR_NUMBER, worker, None)
    holdings = Holdings(plan)
    for part in plan.parts_of(worker):
        for need in holdings.missing(part):
            holdings.take(part, need)
            if (maker := plan.maker(need.part)) != worker:
                yield Transfer(need, maker, worker, part)
        if plan.is_layer(part):
            holdings.begin(part)
            holdings.made(part)
    if plan.schedule.name == 'federated':
        # Each worker measures the final network on its own data.
        for part in plan.final:
            if (maker := plan.maker(part)) != worker:
                yield Transfer(Need(part, whole=False), maker, worker, None)


def transfers_to_coordinator(plan: ChapterPlan) -> Iterator[Transfer]:
    """What its evaluations need, and the network at the end."""
    for chapter in range(plan.chapters):
        if plan.evaluated(chapter):
            for layer in range(plan.layers):
                part = Part(chapter, layer)
                yield Transfer(Need(part, whole=False), plan.maker(part), None, None)
    for part in plan.final:
        yield Transfer(Need(part, whole=True), plan.maker(part), None, None)


def transfers(plan: ChapterPlan) -> Iterator[Transfer]:
    """All of a run."""
    for worker in range(plan.workers):
        yield from transfers_of(plan, worker)
    yield from transfers_to_coordinator(plan)


def chapter_traffic(plan: ChapterPlan) -> list[NodeTraffic]:
    """Payload of each node over the whole run: the coordinator, then the workers."""
    names = worker_names(plan.resolved.config)
    moved = (
        (
            COORDINATOR if each.sender == COORDINATOR_NUMBER else names[each.sender],
            COORDINATOR if each.receiver is None else names[each.receiver],
            part_bytes(plan, each.need),
        )
        for each in transfers(plan)
    )
    return collect([COORDINATOR, *names], moved)
