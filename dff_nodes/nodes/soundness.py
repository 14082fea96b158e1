# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
What is wrong with a small message, whoever sent it: None if nothing is.

Items, credit and scores have their checks where they are decoded (stream/, link.py). A reason
names fields and never quotes a text of the message.
"""

from __future__ import annotations

import math
from typing import Any

from dff_msgs import msg

from dff_nodes.runs.run_folder import NAME

LONGEST_NAME = 255
LONGEST_TEXT = 10_000
LONGEST_CONFIG = 1_000_000
MOST_CHECKPOINTS = 1000
MOST_RESTARTS = 1000
"""that a node may have made unheard; a higher incarnation is no restart but a lie"""
STATUS_NAMES = ('node', 'host', 'weights_sha256', 'precision')
STATUS_FLOATS = (
    'items_per_second',
    'rss_mb',
    'peak_rss_mb',
    'base_rss_mb',
    'computing_s',
    'waiting_s',
    'own_accuracy',
)
METRICS_FLOATS = (
    'loss',
    'positive_goodness',
    'negative_goodness',
    'separation',
    'learning_rate',
    'samples_per_second',
    'items_per_second',
    'compute_share',
)


def of_status(message: msg.LayerStatus, layers: int) -> str | None:
    """Look at a heartbeat."""
    if message.layer >= layers:
        return f'layer {message.layer} is not in this network'
    if message.state > msg.LayerStatus.ERROR:
        return f'state {message.state} is unknown'
    if len(message.checkpoints) > MOST_CHECKPOINTS:
        return f'{len(message.checkpoints)} checkpoints, at most {MOST_CHECKPOINTS} are right'
    return (
        _of_names(message, STATUS_NAMES)
        or _of_texts(message, ('waiting_for', 'error'), LONGEST_TEXT)
        or _of_floats(message, STATUS_FLOATS)
    )


def of_metrics(message: msg.LayerMetrics, layers: int, items: int) -> str | None:
    """Look at a layer's report."""
    if message.layer >= layers:
        return f'layer {message.layer} is not in this network'
    if message.item >= items:
        return f'item is {message.item}, but there are {items}'
    return _of_floats(message, METRICS_FLOATS)


def of_config(message: msg.RunConfig) -> str | None:
    """Look at a run's configuration; its content is checked when it is read."""
    if message.protocol_version != msg.RunConfig.PROTOCOL_VERSION:
        known = msg.RunConfig.PROTOCOL_VERSION
        return f'protocol {message.protocol_version}, {known} is known'
    if message.phase > msg.RunConfig.PAUSED:
        return f'phase {message.phase} is unknown'
    if not NAME.fullmatch(message.run_name):
        return 'run_name is no name of a run'
    if not math.isfinite(sum(message.silent_s)):
        return 'silent_s is not finite'
    return (
        _of_names(message, ('host', 'config_hash', 'data_sha256'))
        or _of_texts(message, ('reason',), LONGEST_TEXT)
        or _of_texts(message, ('config',), LONGEST_CONFIG)
    )


def of_incarnation(told: int, known: int) -> str | None:
    """Look at the incarnation of a sender of which an older one is known, 0 for none."""
    if told < known:
        return 'its sender has been replaced by a newer one'
    if told > known + MOST_RESTARTS:
        return f'incarnation leaps from {known} to {told}'
    return None


def _of_names(message: Any, names: tuple[str, ...]) -> str | None:
    for name in names:
        text = getattr(message, name)
        if len(text) > LONGEST_NAME or not text.isprintable() or '\ufffd' in text:
            return f'{name} is no name'
    return None


def _of_texts(message: Any, names: tuple[str, ...], longest: int) -> str | None:
    for name in names:
        length = len(getattr(message, name))
        if length > longest:
            return f'{name} has {length} characters, at most {longest} are right'
    return None


def _of_floats(message: Any, names: tuple[str, ...]) -> str | None:
    for name in names:
        if not math.isfinite(getattr(message, name)):
            return f'{name} is not finite'
    return None
