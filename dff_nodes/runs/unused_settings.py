# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Settings that were given and decide nothing."""

from __future__ import annotations

from dff_nodes.runs.config import Config

OF_THE_STREAM = (
    ('stream', 'window_items'),
    ('stream', 'replay_mb'),
    ('checkpoint', 'every_s'),
    ('checkpoint', 'every_items'),
    ('restart', 'lease_s'),
)


def unused_settings(config: Config) -> list[str]:
    """Say which settings of a file or of --set the schedule has no use for."""
    if not config.schedule.chapters:
        return []
    given = [
        f'{section}.{name}'
        for section, name in OF_THE_STREAM
        if name in getattr(config, section).model_fields_set
    ]
    return [
        f'{setting} has no effect with the schedule {config.schedule.name!r}, whose parts are '
        'saved when they are made; it is for the schedule stream'
        for setting in given
    ]
