# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The golden test on runs that nobody thought of; see test_golden.py."""

from __future__ import annotations

import pytest
from dff_command import Dff, settings
from drawn_runs import drawn_run
from golden import golden

pytestmark = pytest.mark.ros

ALWAYS, ALL = 8, 60


@pytest.mark.parametrize(
    'seed',
    [pytest.param(each, marks=[] if each < ALWAYS else pytest.mark.slow) for each in range(ALL)],
)
def test_a_run_drawn_at_random_equals_the_reference(dff: Dff, seed: int) -> None:
    golden(dff, settings(**drawn_run(seed)))
