# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The golden test on runs that nobody thought of; see test_golden.py."""

from __future__ import annotations

from typing import Any

import pytest
from dff_command import Dff, settings
from drawn_runs import drawn_faults, drawn_run
from golden import golden

from dff_nodes.runs.config import worker_names
from dff_nodes.runs.config_file import check_config

pytestmark = pytest.mark.ros


def seeds(always: int, slow: int) -> list[Any]:
    """Give the seeds of runs; the last ones are slow together."""
    marks = [[]] * always + [pytest.mark.slow] * slow
    return [pytest.param(seed, marks=each) for seed, each in enumerate(marks)]


@pytest.mark.parametrize('seed', seeds(always=8, slow=52))
def test_a_run_drawn_at_random_equals_the_reference(dff: Dff, seed: int) -> None:
    golden(dff, settings(**drawn_run(seed)))


@pytest.mark.parametrize('seed', seeds(always=4, slow=36))
def test_nodes_of_it_may_die_where_and_when_they_like(dff: Dff, seed: int) -> None:
    run = drawn_run(1000 + seed)
    nodes = worker_names(check_config(run, 'a drawn run'))
    faults, run['checkpoint'] = drawn_faults(seed, nodes)
    done = golden(dff, settings(**run, restart__backoff_s=0), faults=faults)
    assert sum(done['restarts'].values()) >= 1
