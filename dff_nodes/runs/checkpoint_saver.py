# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Saves the checkpoints of a layer beside its training, and knows which are safe."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

from torch import Tensor

from dff_nodes.runs.checkpoint import KEPT, CheckpointInfo, CheckpointStore

WAIT_S = 0.2


class CheckpointSaver:
    """
    Writes checkpoints on the caller's thread, and makes them durable on one of its own.

    :param store: of the layer.
    """

    def __init__(self, store: CheckpointStore, run_id: str, config_hash: str) -> None:
        self.store = store
        self.durable = 0
        """no fault of this node alone makes it ask for an item before this one"""
        self.saved: list[CheckpointInfo] = []
        """oldest first; none of them is torn"""
        self._run = run_id, config_hash
        self._thread = ThreadPoolExecutor(1, 'checkpoint')
        self._saving: Future | None = None
        self.look()
        self._began = 0
        """item that this process began with, or began again with"""
        self._reached = max(self.items, default=0)
        """item of the newest checkpoint that training has passed"""

    def look(self) -> list[str]:
        """Look for what is on disk; give what is wrong with checkpoints that cannot be used."""
        # What is being written would be taken for the remains of a killed process.
        self.wait(lambda: None)
        self.store.sweep()
        self.saved, wrong = self.store.valid(*self._run)
        return wrong

    @property
    def items(self) -> list[int]:
        """Items of the checkpoints, oldest first."""
        return [info.next_item for info in self.saved]

    @property
    def newest_incarnation(self) -> int:
        """Of the checkpoints, 0 without one."""
        return max((info.incarnation for info in self.saved), default=0)

    def newest(self, usable: Callable[[CheckpointInfo], bool]) -> CheckpointInfo | None:
        """Give the newest checkpoint that is usable."""
        return next((info for info in reversed(self.saved) if usable(info)), None)

    def go_back_to(self, item: int) -> None:
        """Training goes on before an item; those from there on are wanted again."""
        self.durable = min(self.durable, item)
        self._began = self._reached = item

    def save(
        self, info: CheckpointInfo, tensors: dict[str, Tensor], on_saved: Callable[[], None]
    ) -> None:
        """
        Write a checkpoint; `on_saved` is called in the saving thread once it is durable.

        Not before the one before is done, see `wait`. Raises OSError if it cannot be written.
        """
        unfinished = self.store.begin(info, tensors)

        def finish() -> None:
            self._add(unfinished.finish())
            on_saved()

        self._saving = self._thread.submit(finish)

    def _add(self, info: CheckpointInfo) -> None:
        others = [each for each in self.saved if each.next_item != info.next_item]
        self.saved = sorted([*others, info], key=lambda each: each.next_item)
        self._reached = info.next_item

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Wait for the checkpoint that is being written, calling `meanwhile` again and again."""
        while self._saving is not None and not self._saving.done():
            try:
                self._saving.exception(WAIT_S)
            except NotYet:
                meanwhile()

    def take_error(self) -> OSError | None:
        """
        Give why the last checkpoint could not be made durable, once; None if it is not so.

        Any other error is a fault of the program and raised.
        """
        if self._saving is None or not self._saving.done():
            return None
        error = self._saving.exception()
        self._saving = None
        if error is None or isinstance(error, OSError):
            return error
        raise error

    def promise(self, usable: Callable[[CheckpointInfo], bool]) -> None:
        """
        Raise `durable` as far as the checkpoints allow; receivers that got on allow more.

        Deletes nothing, so that it may run while a checkpoint is being made durable.

        :param usable: whether all that receivers want can be made from a checkpoint.
        """
        fallback = self.newest(usable)
        if fallback is not None:
            self.durable = max(self.durable, min(*self._behind(), fallback.next_item))

    def forget(
        self,
        usable: Callable[[CheckpointInfo], bool],
        settled: Callable[[CheckpointInfo], bool] = lambda info: True,
    ) -> None:
        """
        Forget the checkpoints that no fault can ask for.

        The newest two behind which training is are kept, and those ahead of it that an older
        state left, as far as they are the newest two: they come true again.

        :param usable: whether all that receivers want can be made from it. The newest of these
            is kept too, as this node would go back to it.
        :param settled: whether it would still be usable if all nodes died at once. The newest
            two of these are kept too, and what is newer: nodes far apart have more on their way
            than one interval.
        """
        fallback = self.newest(usable)
        safe = [info.next_item for info in self.saved if settled(info)]
        from_here = safe[-KEPT] if len(safe) >= KEPT else 0
        kept = {*self._behind(), *self.items[-KEPT:], *([fallback.next_item] if fallback else [])}
        kept |= {item for item in self.items if item >= from_here}
        self.saved = [info for info in self.saved if info.next_item in kept]
        self.store.keep(kept)
        self.promise(usable)

    def _behind(self) -> list[int]:
        """Items of the newest two states to go back to that training has passed."""
        items = {item for item in self.items if item <= self._reached} | {self._began}
        return sorted(items)[-KEPT:]
