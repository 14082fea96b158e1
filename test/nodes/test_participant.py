# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""How the process of a node ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros

HANGS = """
import ctypes
from dff_nodes.nodes import participant
participant.TEARDOWN_S = 0.5
participant.limit_teardown()
ctypes.PyDLL(None).sleep(600)
"""
"""a call into C that never comes back, nor lets any other thread of Python run"""


def test_a_node_whose_middleware_hangs_ends_and_says_where(
    ros_environment: dict[str, str],
) -> None:
    ended = subprocess.run(
        [sys.executable, '-c', HANGS],
        env=ros_environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert 'line 6 in <module>' in ended.stderr
