# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tests that start nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dff_command import Dff  # noqa: E402


@pytest.fixture
def dff(tmp_path: Path, ros_environment: dict[str, str]) -> Iterator[Dff]:
    """Run dff commands in a folder of their own; no node may be left at the end."""
    command = Dff(tmp_path, ros_environment)
    yield command
    for process in command.started:
        # Of a test that failed before it waited for its command.
        process.terminate()
    try:
        command.await_gone()
    finally:
        for process in command.nodes():
            process.kill()
