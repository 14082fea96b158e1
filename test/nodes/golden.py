# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What it means that a run over ROS 2 equals the reference."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from dff_command import Dff

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.fault_points import VARIABLE
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import create_run
from dff_nodes.schedules.run_reference import run_reference

COMPARED = ('precision', 'weights_sha256', 'history', 'items', 'config_hash', 'shard_accuracy')


def reference(folder: Path, overrides: list[str], config: str | None = None) -> dict[str, Any]:
    """Run the reference of a configuration in this process."""
    loaded = load_config(config, overrides)
    run = create_run(folder / 'reference', 'r', resolve(loaded, read_facts(loaded.data)))
    return run_reference('train', run, [], lambda event: None, time.monotonic())


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare everything that is learned."""
    for key in COMPARED:
        if key == 'shard_accuracy' and key in expected:
            assert found[key] == pytest.approx(expected[key], abs=1e-6)
        else:
            assert found.get(key) == expected.get(key), key


def golden(
    dff: Dff, arguments: list[str], config: str | None = None, faults: str = ''
) -> dict[str, Any]:
    """
    Run over ROS 2 and as the reference at once, compare, and give what the former found.

    :param faults: of the nodes over ROS 2, see dff_nodes.runs.fault_points.
    """
    words = ['train', *([config] if config else []), '--json', '--name', 'ros', *arguments]
    process = Dff(dff.folder, dff.environment | {VARIABLE: faults}).start(*words)
    expected = reference(dff.folder, arguments[1::2], config)
    ros = dff.finish(process)
    assert ros.status == 0, ros.errors
    assert_same(ros.answer, expected)
    return ros.answer
