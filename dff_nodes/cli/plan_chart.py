# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The speed-up curves of `dff plan` as a page."""

from __future__ import annotations

from collections.abc import Sequence

from dff_nodes.runs.charts import Line, LineChart
from dff_nodes.runs.report_cards import color, line_card, page
from dff_nodes.schedules.scaling import ScaledPoint, sizes_of


def chart_page(points: Sequence[ScaledPoint], kind: str) -> str:
    """Draw the speed-up over the number of devices, one line for each way to use them."""
    groups = sizes_of(points, lambda point: point.way)
    lines = [
        Line(way, [(point.devices, point.speed_up) for point in group], color(place, len(groups)))
        for place, (way, group) in enumerate(groups.items())
    ]
    most = max((point.devices for point in points), default=1)
    lines.append(Line('one for each device', [(1, 1), (most, most)], color(0, 1), 'dashed'))
    chart = LineChart(
        f'Predicted speed-up on devices of kind {kind}',
        'devices',
        lines,
        note='against the sequential schedule of the same network on one of them; simulated from '
        'measured step times',
        from_zero=True,
        height=420,
    )
    return page('dff plan', line_card(chart))
