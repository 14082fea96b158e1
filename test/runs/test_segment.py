# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Shared memory of a node: as much as its messages need, and counted in what `dff check` tells."""

from __future__ import annotations

import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.segment import (
    BETWEEN_DEVICES_BYTES,
    MESSAGES_PER_SEGMENT,
    SMALLEST_SEGMENT_BYTES,
    largest_message_bytes,
    segment_mb,
)
from dff_nodes.schedules.needs import run_needs

WIDE = 'network=[{units: 2000}, {units: 3000}, {units: 50}]'
PLACED = 'placement={pi1: [coordinator, layer_0], pi2: [layer_1, layer_2]}'


def resolved_run(*overrides: str) -> ResolvedRun:
    config = load_config(None, list(overrides))
    return resolve(config, read_facts(config.data))


def test_a_stream_has_room_for_a_dozen_of_its_largest_items() -> None:
    resolved = resolved_run(WIDE, 'training.batch_size=200')
    largest = largest_message_bytes(resolved)
    assert largest == max(resolved.item_bytes(layer) for layer in range(3))
    assert largest > 4 * 200 * 3000, 'the outputs of layer_1 travel as float32'
    assert segment_mb(resolved) == MESSAGES_PER_SEGMENT * largest / 1e6


def test_small_messages_have_the_smallest_segment() -> None:
    resolved = resolved_run('network=[{units: 20}]', 'training.batch_size=10')
    assert segment_mb(resolved) == SMALLEST_SEGMENT_BYTES / 1e6


def test_chapters_send_chunks_however_wide_a_batch_is() -> None:
    resolved = resolved_run(WIDE, 'training.batch_size=200', 'schedule=all_layers')
    assert segment_mb(resolved) == SMALLEST_SEGMENT_BYTES / 1e6


def test_between_devices_messages_go_over_the_network() -> None:
    resolved = resolved_run(WIDE, PLACED, 'training.batch_size=200')
    assert segment_mb(resolved) == MESSAGES_PER_SEGMENT * BETWEEN_DEVICES_BYTES / 1e6


def test_the_segment_counts_to_the_memory_of_every_node() -> None:
    for schedule in ('stream', 'all_layers'):
        small, wide = (
            run_needs(resolved_run(WIDE, f'training.batch_size={size}', f'schedule={schedule}'))
            for size in (1, 200)
        )
        more = [
            each.process_mb - other.process_mb
            for each, other in zip(wide.nodes, small.nodes, strict=True)
        ]
        expected = resolved_run(WIDE, 'training.batch_size=200', f'schedule={schedule}')
        smallest = SMALLEST_SEGMENT_BYTES / 1e6
        assert more == pytest.approx([segment_mb(expected) - smallest] * len(more))
