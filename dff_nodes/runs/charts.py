# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Line and bar charts of the report, drawn by plotly; the page's script sets their colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

MOST_POINTS = 500
"""of one line: more cannot be told apart at the width of a chart"""
MARKED_POINTS = 40
"""lines of more points than this have no marker at each"""
MOST_UNIFIED = 8
"""lines whose values one hover box can name"""
LARGE, SMALL = 270, 200
"""height of a chart's axes and labels, px; a legend comes on top"""
LEGEND_ROW, ENTRIES_A_ROW = 20, 4
BAR_ROW = 27
LEAST_WITH_LEGEND = 140
"""height of a bar chart whose legend may need two rows, px"""
INK = '#7f8a99'
"""strong parts; the page's script sets them to the colour of its text"""
TRANSPARENT = 'rgba(0,0,0,0)'
PERCENT = '.2~%'
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'
NOTHING = '<p class="empty">Nothing was recorded.</p>'

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line: its name and its points."""

    name: str
    points: list[Point]
    color: str
    style: str = ''
    """'', 'dashed' or 'strong'"""


@dataclass(frozen=True)
class LineChart:
    """What a chart of lines shows; one without a point says so."""

    title: str
    x_label: str
    lines: list[Line]
    note: str = ''
    percent: bool = False
    """the values are shares from 0 to 1"""
    from_zero: bool = False
    y_range: tuple[float, float] | None = None
    height: int = LARGE
    whole_x: bool = False
    """ticks at whole numbers only"""


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: where it stands, how long it is, what is written at its end."""

    label: str
    value: float
    text: str
    color: str


@dataclass(frozen=True)
class BarChart:
    """Bars by the name of what they show; those with the same label stand behind each other."""

    title: str
    groups: dict[str, list[Bar]]
    note: str = ''
    end: float | None = None
    """value at the right end; default: that of the longest bar"""
    room: int = 74
    """for the text at the end of the longest bar, px"""
    with_legend: bool = True
    height: int = 0
    """px at least"""

    @property
    def labels(self) -> list[str]:
        """Names of the rows, from top to bottom."""
        return list(dict.fromkeys(bar.label for bars in self.groups.values() for bar in bars))


def script() -> str:
    """Give plotly's own script, which a page needs once."""
    return get_plotlyjs()


def lines_html(chart: LineChart) -> str:
    """Draw lines."""
    lines = [(line, finite_points(line.points)) for line in chart.lines]
    lines = [(line, points) for line, points in lines if points]
    if not lines:
        return NOTHING
    entries = len(lines) if len(lines) > 1 else 0
    layout = _layout(chart.height + _legend_height(entries)) | {
        'showlegend': entries > 0,
        'hovermode': 'x unified' if len(lines) <= MOST_UNIFIED else 'closest',
        'xaxis': _x_axis(chart, [x for _, points in lines for x, _ in points]),
        'yaxis': _y_axis(chart),
    }
    traces = [_trace(line, thin_out(points, MOST_POINTS), chart) for line, points in lines]
    return _html(go.Figure(traces, layout), chart.title)


def bars_html(chart: BarChart) -> str:
    """Draw bars."""
    groups = {name: bars for name, bars in chart.groups.items() if bars}
    if not groups:
        return NOTHING
    named = chart.with_legend and len(groups) > 1
    rows = len(chart.labels)
    height = max(chart.height, BAR_ROW * rows + 20)
    if named:
        height = max(height + LEGEND_ROW, LEAST_WITH_LEGEND)
    layout = _layout(height, right=chart.room) | {
        'showlegend': named,
        'barmode': 'stack',
        'bargap': 0.35,
        'hovermode': False,
        'xaxis': {'range': [0, 1.002 * (chart.end or _longest(groups))], 'visible': False}
        | {'fixedrange': True},
        'yaxis': _label_axis(chart.labels),
    }
    traces = [_bars(name, bars) for name, bars in groups.items()]
    return _html(go.Figure(traces, layout), chart.title)


def finite_points(points: list[Point]) -> list[Point]:
    """Drop what cannot be drawn."""
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def thin_out(points: list[Point], most: int) -> list[Point]:
    """Average runs of neighbouring points so that at most so many are left."""
    step = -(-len(points) // most)
    if step <= 1:
        return points
    groups = [points[start : start + step] for start in range(0, len(points), step)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _html(figure: go.Figure, title: str) -> str:
    return (
        f'<div class="plot" role="img" aria-label="{escape(title)}" style="height:'
        f'{figure.layout.height}px" data-figure="{escape(figure.to_json())}"></div>'
    )


def _layout(height: int, right: int = 14) -> dict[str, Any]:
    return {
        'template': 'none',
        'height': height,
        'margin': {'l': 8, 'r': right, 't': 6, 'b': 8},
        'paper_bgcolor': TRANSPARENT,
        'plot_bgcolor': TRANSPARENT,
        'font': {'family': FONT, 'size': 12},
        'legend': {
            'orientation': 'h', 'x': 0, 'xanchor': 'left', 'y': 1, 'yanchor': 'bottom',
            'bgcolor': TRANSPARENT, 'traceorder': 'normal',
        },
    }  # fmt: skip


def _legend_height(entries: int) -> int:
    return LEGEND_ROW * math.ceil(entries / ENTRIES_A_ROW)


def _x_axis(chart: LineChart, values: list[float]) -> dict[str, Any]:
    axis = {
        'title': {'text': chart.x_label, 'standoff': 6},
        'automargin': True, 'showgrid': False, 'zeroline': False, 'showline': True,
        'nticks': 7 if chart.height >= LARGE else 4, 'tickangle': 0, 'hoverformat': ',.0f',
    }  # fmt: skip
    if chart.whole_x and max(values) - min(values) < 7:
        axis |= {'dtick': 1, 'tick0': 0}
    return axis


def _y_axis(chart: LineChart) -> dict[str, Any]:
    axis = {'automargin': True, 'zeroline': False, 'nticks': 6, 'hoverformat': '.4~g'}
    if chart.percent:
        axis |= {'tickformat': PERCENT, 'hoverformat': '.2%'}
        axis |= {'autorangeoptions': {'clipmin': 0, 'clipmax': 1.004}}
    if chart.from_zero:
        axis['rangemode'] = 'tozero'
    if chart.y_range:
        axis['range'] = chart.y_range
    return axis


def _label_axis(labels: list[str]) -> dict[str, Any]:
    return {
        'type': 'category', 'categoryorder': 'array', 'categoryarray': labels,
        'range': [len(labels) - 0.5, -0.5], 'automargin': True, 'fixedrange': True,
        'showgrid': False, 'zeroline': False, 'ticklabelstandoff': 6, 'dtick': 1,
    }  # fmt: skip


def _trace(line: Line, points: list[Point], chart: LineChart) -> go.Scatter:
    width = {'strong': 3.2, 'dashed': 1.8}.get(line.style, 1.8)
    return go.Scatter(
        x=[_rounded(x) for x, _ in points],
        y=[_rounded(y) for _, y in points],
        name=line.name,
        mode='lines+markers' if len(points) <= MARKED_POINTS else 'lines',
        line={'color': line.color, 'width': width} | _dashes(line),
        marker={'size': 5, 'color': line.color},
        meta=_meta(line.color),
        cliponaxis=False,
        hovertemplate=None
        if len(chart.lines) <= MOST_UNIFIED
        else f'{line.name}: %{{y}}<extra></extra>',
    )


def _dashes(line: Line) -> dict[str, str]:
    return {'dash': '5px,3px'} if line.style == 'dashed' else {}


def _bars(name: str, bars: list[Bar]) -> go.Bar:
    return go.Bar(
        orientation='h',
        name=name,
        y=[bar.label for bar in bars],
        x=[_rounded(bar.value) for bar in bars],
        text=[bar.text for bar in bars],
        textposition='outside',
        constraintext='none',
        cliponaxis=False,
        marker={'color': [bar.color for bar in bars] if len(bars) > 1 else bars[0].color},
        meta=_meta(bars[0].color),
    )


def _meta(color: str) -> str | None:
    """Mark what the page's script gives the colour of the text."""
    return 'ink' if color == INK else None


def _longest(groups: dict[str, list[Bar]]) -> float:
    lengths: dict[str, float] = {}
    for bars in groups.values():
        for bar in bars:
            lengths[bar.label] = lengths.get(bar.label, 0.0) + bar.value
    return max(lengths.values()) or 1.0


def _rounded(value: float) -> float:
    return float(f'{value:.6g}')
