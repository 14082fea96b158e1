# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The parts that a worker has made, on its disk."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore, UnfinishedCheckpoint
from dff_nodes.schedules.chapters import ChapterPlan, Part


class PartStore:
    """
    Parts of one worker as checkpoints: `worker_1_layer_2-000000007.ckpt` is behind 7 chapters.

    A worker that comes back goes on behind the newest of them: parts are made in one order, and
    the newest is never forgotten.
    """

    def __init__(
        self, folder: Path, plan: ChapterPlan, worker: int, run_id: str, config_hash: str
    ) -> None:
        self.plan = plan
        self.worker = worker
        self._run = run_id, config_hash
        self._stores = [
            CheckpointStore(folder, layer, f'worker_{worker}_') for layer in range(plan.layers + 1)
        ]
        self._order = plan.parts_of(worker)

    def look(self) -> tuple[int, list[str]]:
        """
        Look for what is on disk, and remove what a killed process left and what is of no use.

        :returns: how many parts of this worker need not be made again, and what is wrong with
            files that could not be used.
        """
        there, wrong = set(), []
        for layer, store in enumerate(self._stores):
            store.sweep()
            valid, torn = store.valid(*self._run)
            there |= {Part(info.next_item - 1, layer) for info in valid}
            wrong += torn
            store.keep([info.next_item for info in valid])
        done = [place for place, part in enumerate(self._order) if part in there]
        return self._whole(done[-1] + 1 if done else 0, there), wrong

    def _whole(self, made: int, there: set[Part]) -> int:
        """Go back until this worker has all of its own that the next part is made from."""
        while 0 < made < len(self._order):
            own = [
                self.plan.place(need.part)
                for need in self.plan.needs(self._order[made])
                if self.plan.maker(need.part) == self.worker and need.part not in there
            ]
            if not own:
                break
            made = min(own)
        return made

    def begin(self, part: Part, tensors: dict[str, Tensor]) -> UnfinishedCheckpoint:
        """Write a part that is there once it is finished; raises OSError."""
        # The same bytes whoever makes it, and however often: no incarnation.
        info = CheckpointInfo(*self._run, part.layer, part.chapter + 1, 0)
        return self._stores[part.layer].begin(info, tensors)

    def load(self, part: Part) -> dict[str, Tensor]:
        """Read a part; raises CheckpointError if it is not there, or torn."""
        _, tensors = self._stores[part.layer].load(part.chapter + 1, *self._run)
        return tensors

    def has(self, part: Part) -> bool:
        """Whether there is a file of a part."""
        return self._stores[part.layer].path(part.chapter + 1).exists()

    def forget(self, done: dict[int, int], evaluated: int) -> None:
        """Remove what nobody can ask for any more; see ChapterPlan.is_needed."""
        count = done.get(self.worker, 0)
        newest = self._order[max(0, count - 2) : count]
        for layer, store in enumerate(self._stores):
            kept = [
                item
                for item in store.items()
                if Part(item - 1, layer) in newest
                or self.plan.is_needed(Part(item - 1, layer), done, evaluated)
            ]
            store.keep(kept)
