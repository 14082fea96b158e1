# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs that wait for each other, and for what they occupy."""

from __future__ import annotations

from dff_nodes.schedules.simulation import Simulation


def test_a_resource_serves_one_after_the_other() -> None:
    simulation = Simulation({'pi': 1})
    for seconds in (2.0, 3.0, 1.0):
        simulation.add(seconds, ['pi'])
    timeline = simulation.run()
    assert timeline.begin == [0.0, 2.0, 5.0]
    assert timeline.seconds == 6.0
    assert timeline.busy_s == {'pi': 6.0}


def test_a_resource_of_two_places_serves_two_at_a_time() -> None:
    simulation = Simulation({'pi': 2})
    for seconds in (2.0, 3.0, 1.0):
        simulation.add(seconds, ['pi'])
    assert simulation.run().end == [2.0, 3.0, 3.0]


def test_a_job_waits_for_those_before_it() -> None:
    simulation = Simulation({'a': 1, 'b': 1})
    first = simulation.add(1.0, ['a'])
    second = simulation.add(5.0, ['b'])
    third = simulation.add(1.0, ['a'], [first, second, second])
    timeline = simulation.run()
    assert timeline.begin[third] == 5.0


def test_who_has_waited_longest_is_served_first() -> None:
    simulation = Simulation({'a': 1, 'b': 1})
    begun = simulation.add(1.0, ['b'])
    late = simulation.add(1.0, ['a'], [begun])
    early = simulation.add(3.0, ['a'])
    next_one = simulation.add(1.0, ['a'])
    timeline = simulation.run()
    assert timeline.begin[early] == 0.0
    assert timeline.begin[next_one] == 3.0
    assert timeline.begin[late] == 4.0


def test_a_transfer_needs_both_ends_at_once() -> None:
    simulation = Simulation({'out': 1, 'in': 1})
    simulation.add(2.0, ['out'])
    simulation.add(3.0, ['in'])
    transfer = simulation.add(1.0, ['out', 'in'])
    timeline = simulation.run()
    assert timeline.begin[transfer] == 3.0
    assert timeline.busy_s == {'out': 3.0, 'in': 4.0}


def test_a_delay_occupies_nothing() -> None:
    simulation = Simulation({'pi': 1})
    delay = simulation.add(4.0)
    simulation.add(1.0, ['pi'], [delay])
    simulation.add(1.0, ['pi'])
    assert simulation.run().end == [4.0, 5.0, 1.0]


def test_nothing_takes_no_time() -> None:
    assert Simulation({}).run().seconds == 0.0
