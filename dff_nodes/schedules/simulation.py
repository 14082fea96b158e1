# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A discrete-event model: jobs that wait for each other, and for what they occupy."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Something that takes time."""

    seconds: float
    occupies: tuple[str, ...]
    """resources that it needs all at once, for all of its time; none for a mere delay"""
    after: tuple[int, ...]
    """numbers of the jobs that must be done before"""


@dataclass(frozen=True)
class Timeline:
    """When each job began and ended, s, and how long each resource was occupied."""

    begin: list[float]
    end: list[float]
    busy_s: dict[str, float]

    @property
    def seconds(self) -> float:
        """End of the last job."""
        return max(self.end, default=0.0)


class Simulation:
    """
    Jobs and resources, each of which serves so many jobs at a time.

    A job begins as soon as those before it are done and all that it occupies is free; of those
    that could begin, the one that has waited longest, then the one that was added first.

        simulation = Simulation({'pi0': 1})
        first = simulation.add(2.0, ['pi0'])
        simulation.add(1.0, ['pi0'], [first])
        assert simulation.run().seconds == 3.0

    :param places: jobs that each resource serves at a time.
    """

    def __init__(self, places: dict[str, int]) -> None:
        self._free = dict(places)
        self._jobs: list[Job] = []

    def add(self, seconds: float, occupies: Sequence[str] = (), after: Sequence[int] = ()) -> int:
        """Add a job behind those that it waits for, and give its number."""
        self._jobs.append(Job(seconds, tuple(occupies), tuple(after)))
        return len(self._jobs) - 1

    def run(self) -> Timeline:
        """Let all jobs pass; may be called once."""
        jobs = self._jobs
        self._begin, self._end = [0.0] * len(jobs), [0.0] * len(jobs)
        self._busy = dict.fromkeys(self._free, 0.0)
        self._ending: list[tuple[float, int]] = []
        self._queues: dict[str, list[tuple[float, int]]] = {name: [] for name in self._free}
        waits = [len(set(job.after)) for job in jobs]
        behind: list[list[int]] = [[] for _ in jobs]
        for number, job in enumerate(jobs):
            for before in set(job.after):
                behind[before].append(number)
        for number, count in enumerate(waits):
            if not count:
                self._ready(number, 0.0)
        while self._ending:
            now, number = heapq.heappop(self._ending)
            for name in jobs[number].occupies:
                self._free[name] += 1
            for later in behind[number]:
                waits[later] -= 1
                if not waits[later]:
                    self._ready(later, now)
            for name in jobs[number].occupies:
                self._serve(name, now)
        return Timeline(self._begin, self._end, self._busy)

    def _ready(self, number: int, now: float) -> None:
        """Begin a job, or put it into the queue of the first resource that is not free."""
        job = self._jobs[number]
        for name in job.occupies:
            if self._free[name] < 1:
                heapq.heappush(self._queues[name], (now, number))
                return
        for name in job.occupies:
            self._free[name] -= 1
            self._busy[name] += job.seconds
        self._begin[number], self._end[number] = now, now + job.seconds
        heapq.heappush(self._ending, (now + job.seconds, number))

    def _serve(self, name: str, now: float) -> None:
        """Let those begin that waited for a resource, as far as it is free."""
        queue = self._queues[name]
        while queue and self._free[name] > 0:
            _, number = heapq.heappop(queue)
            # It may have to wait for another resource then, in a queue of that.
            self._ready(number, now)
