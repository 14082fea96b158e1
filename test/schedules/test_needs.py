# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The same run with other schedules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import footprint
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.needs import compare_schedules, run_needs, with_schedule


def test_every_schedule_is_compared_with_the_chosen_one(
    made_run: Callable[..., ResolvedRun],
) -> None:
    resolved = made_run(schedule='federated', training={'epochs': 4, 'batch_size': 2})
    compared = {each.schedule: each for each in compare_schedules(resolved)}
    assert [*compared] == ['stream', 'single_layer', 'all_layers', 'federated']
    assert [each.schedule for each in compared.values() if each.chosen] == ['federated']
    assert compared['federated'].traffic == run_needs(resolved).traffic
    streamed = footprint(with_schedule(resolved, 'stream'))
    assert compared['stream'].bytes == sum(
        layer.hop_bytes + layer.goodness_bytes for layer in streamed.layers
    )


def test_chapters_and_ring_stay_where_both_schedules_have_them(
    made_run: Callable[..., ResolvedRun],
) -> None:
    schedule = {'name': 'federated', 'splits': 2, 'workers': 5, 'moments': 'stay', 'skew': 1.0}
    resolved = made_run(schedule=schedule, training={'epochs': 4, 'batch_size': 2})
    ring = with_schedule(resolved, 'all_layers').config.schedule
    assert (ring.splits, ring.workers, ring.moments) == (2, 5, 'stay')
    assert with_schedule(resolved, 'single_layer').config.schedule.splits == 2
    assert with_schedule(resolved, 'all_layers', workers=7).config.workers == 7


def test_a_schedule_that_cannot_do_it_says_why(made_run: Callable[..., ResolvedRun]) -> None:
    resolved = made_run(
        training={'negatives': {'mode': 'hybrid'}, 'batch_size': 2},
        classification={'mode': 'one_pass'},
    )
    with pytest.raises(ConfigError, match='hybrid'):
        with_schedule(resolved, 'all_layers')
    refused = {each.schedule for each in compare_schedules(resolved) if each.refused}
    assert refused == {'single_layer', 'all_layers'}
