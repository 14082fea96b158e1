# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _reliable(depth: int, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
    )


def bulk(window_items: int) -> QoSProfile:
    """
    Items: twice the window, so that nothing under credit is ever overwritten.

    The middleware's reliability only saves resending; delivery is ours (stream/).
    """
    return _reliable(2 * window_items, DurabilityPolicy.VOLATILE)


CHUNKS_RECEIVED = _reliable(50, DurabilityPolicy.VOLATILE)
"""
far more than a window: what comes late to a full history is never freed by Fast DDS

It drops a message with an older time stamp than all that it keeps without freeing it, which is
up to 256 kB of a chunk. A deeper history costs nothing as long as senders heed the credit.
"""
PART_CHUNKS = _reliable(100, DurabilityPolicy.VOLATILE)
"""more than the windows of all that may be asked of one sender at once"""
PART_REQUESTS = _reliable(100, DurabilityPolicy.VOLATILE)
CREDIT = _reliable(100, DurabilityPolicy.VOLATILE)
"""cumulative, so a lost one is harmless"""
STATUS = _reliable(50, DurabilityPolicy.VOLATILE)
METRICS = _reliable(50, DurabilityPolicy.VOLATILE)
LATCHED = _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)
"""configuration: a node that comes late gets it at once"""
DIAGNOSTICS = _reliable(1, DurabilityPolicy.VOLATILE)
