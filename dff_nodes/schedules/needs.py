# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run will need, whatever its schedule, and what it would need with another."""

from __future__ import annotations

from dataclasses import dataclass

from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import check_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import Footprint, footprint
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.traffic import NodeTraffic, busiest, total
from dff_nodes.schedules.chapter_footprint import ChapterFootprint, chapter_footprint

COMPARED = ('stream', 'single_layer', 'all_layers')
"""besides the schedule that is chosen"""


@dataclass(frozen=True)
class ScheduleTraffic:
    """What moves with one schedule, bytes; `refused` says why there is no such run."""

    schedule: str
    chosen: bool
    traffic: list[NodeTraffic]
    refused: str | None = None

    @property
    def bytes(self) -> int:
        """Payload of the run, each byte counted where it arrives."""
        return total(self.traffic)

    @property
    def busiest(self) -> NodeTraffic:
        """The node whose link has most to carry in one direction."""
        return busiest(self.traffic)


def run_needs(resolved: ResolvedRun) -> Footprint | ChapterFootprint:
    """Work out what a run needs."""
    chapters = resolved.config.schedule.chapters
    return chapter_footprint(resolved) if chapters else footprint(resolved)


def with_schedule(resolved: ResolvedRun, name: str, **settings: int) -> ResolvedRun:
    """
    Give the same run with another schedule; chapters, ring and cache stay where both have them.

    :raises ConfigError: if the schedule cannot do what the configuration asks for.
    """
    tree = resolved.config.model_dump(mode='json')
    tree['schedule'] = _carried_over(resolved.config, name) | settings
    # Where nodes run is said by names that differ from schedule to schedule.
    tree['placement'] = {}
    return resolve(check_config(tree, f'the schedule {name}'), resolved.facts)


def _carried_over(config: Config, name: str) -> dict[str, object]:
    """Settings of the schedule that the other one knows as well."""
    if name == config.schedule.name:
        return config.schedule.model_dump(mode='json')
    kept: dict[str, object] = {'name': name}
    known = {'stream': (), 'sequential': ('splits', 'cache_mb', 'arrivals')}
    known['single_layer'] = known['sequential']
    known['all_layers'] = known['federated'] = (*known['sequential'], 'workers', 'moments')
    for key in known[name]:
        if (value := getattr(config.schedule, key, None)) is not None:
            kept[key] = value
    return kept


def compare_schedules(resolved: ResolvedRun) -> list[ScheduleTraffic]:
    """Give what moves with each schedule; the one that is chosen is among them."""
    own = resolved.config.schedule.name
    names = [*COMPARED, *([own] if own not in COMPARED else [])]
    return [_compared(resolved, name, name == own) for name in names]


def _compared(resolved: ResolvedRun, name: str, chosen: bool) -> ScheduleTraffic:
    try:
        other = resolved if chosen else with_schedule(resolved, name)
    except ConfigError as error:
        return ScheduleTraffic(name, chosen, [], str(error))
    return ScheduleTraffic(name, chosen, run_needs(other).traffic)
