# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Shared memory that the middleware of each node has for messages on their way."""

from __future__ import annotations

from dff_nodes.runs.resolve import ResolvedRun

CHUNK_BYTES = 256 << 10
"""of a part of a network, or of a checkpoint, in one message"""
SMALLEST_SEGMENT_BYTES = 4 << 20
MESSAGES_PER_SEGMENT = 12
"""what may be under way at once: a window to the next layer, sent again, and small ones"""
BETWEEN_DEVICES_BYTES = 1 << 20
"""message that is made room for where nodes are on several devices: most go over the network"""


def segment_bytes(message_bytes: int) -> int:
    """Give the size of a node's segment for messages of so many bytes; all of it is resident."""
    return max(SMALLEST_SEGMENT_BYTES, MESSAGES_PER_SEGMENT * message_bytes)


def largest_message_bytes(resolved: ResolvedRun) -> int:
    """Give the size of the largest message of a run: an item of a stream, a chunk of a part."""
    if resolved.config.schedule.chapters:
        return CHUNK_BYTES
    return max(resolved.item_bytes(layer) for layer in range(len(resolved.layers)))


def segment_mb(resolved: ResolvedRun) -> float:
    """Give what a node's segment adds to its memory, where the run is placed, MB."""
    placed = bool(resolved.config.devices)
    largest = BETWEEN_DEVICES_BYTES if placed else largest_message_bytes(resolved)
    return segment_bytes(largest) / 1e6
