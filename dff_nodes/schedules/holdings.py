# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a worker has of what its parts need: names only, so that traffic can be foretold."""

from __future__ import annotations

from dff_nodes.schedules.chapters import ChapterPlan, Need, Part


class Holdings:
    """
    Follows what one worker holds while it makes its parts, one after the other.

    It has one place for each layer, and one for adaptive negatives: what is taken for a part
    replaces what was there.
    """

    def __init__(self, plan: ChapterPlan) -> None:
        self.plan = plan
        self._layers: dict[int, Need] = {}
        self._negatives: Part | None = None

    def missing(self, part: Part) -> list[Need]:
        """What must be taken, in this order, before a part can be made."""
        return [need for need in self.plan.needs(part) if not self._has(part, need)]

    def _has(self, part: Part, need: Need) -> bool:
        if not self.plan.is_layer(need.part):
            return need.part == self._negatives
        if need.part == self.plan.own_before(part):
            return False
        held = self._layers.get(need.part.layer)
        return held is not None and held.part == need.part and held.whole >= need.whole

    def take(self, part: Part, need: Need) -> None:
        """Take what a part needs."""
        if not self.plan.is_layer(need.part):
            self._negatives = need.part
        elif need.part != self.plan.own_before(part):
            self._layers[need.part.layer] = need

    def begin(self, part: Part) -> None:
        """Begin to train a layer: what was held of it is half changed from now on."""
        self._layers.pop(part.layer, None)

    def made(self, part: Part) -> None:
        """Hold a layer as this worker has made it."""
        self._layers[part.layer] = Need(part, whole=True)
