# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the sections of a report are made of: the page, its cards and colours."""

from __future__ import annotations

from html import escape

from dff_nodes.runs import charts
from dff_nodes.runs.charts import BarChart, LineChart
from dff_nodes.runs.report_style import POLICY, SCRIPT, STYLE

SCALE = ('#3d7bea', '#12a1ad', '#43a352', '#c79a16', '#e0703a', '#cc4a86')
"""first layer to last; each is readable on white and on dark"""
POSITIVE, NEGATIVE = '#2f9e58', '#d9534f'
STRONG, PALE = '#3d7bea', '#9fb0c6'


def page(title: str, body: str) -> str:
    """Make a page that needs nothing but itself."""
    scripts = ''
    if 'class="plot"' in body:
        scripts = f'<script>{charts.script()}</script>'
        body += f'<script>{SCRIPT}</script>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<title>{escape(title)}</title><style>{STYLE}</style>{scripts}</head>\n'
        f'<body><main>\n{body}</main></body></html>\n'
    )


def color(layer: int, layers: int) -> str:
    """Give the colour of a layer: neighbours in the network have neighbouring colours."""
    place = layer / max(1, layers - 1) * (len(SCALE) - 1)
    left = min(int(place), len(SCALE) - 2)
    share = place - left
    mixed = (
        round(
            (1 - share) * int(SCALE[left][at : at + 2], 16) + share * int(after[at : at + 2], 16)
        )
        for after in (SCALE[left + 1],)
        for at in (1, 3, 5)
    )
    return '#' + ''.join(f'{part:02x}' for part in mixed)


def line_card(chart: LineChart) -> str:
    """Draw lines on a card of the page."""
    return _plot_card(chart.title, chart.note, charts.lines_html(chart))


def bars_card(chart: BarChart) -> str:
    """Draw bars on a card of the page."""
    return _plot_card(chart.title, chart.note, charts.bars_html(chart))


def _plot_card(title: str, note: str, plot: str) -> str:
    shown = f'<p class="note">{escape(note)}</p>' if note else ''
    return f'<div class="card"><h3>{escape(title)}</h3>{shown}{plot}</div>'


def table_card(title: str, named: dict[str, str]) -> str:
    """Put named texts, HTML both, on a card."""
    rows = ''.join(f'<tr><th>{name}</th><td>{text}</td></tr>' for name, text in named.items())
    return (
        f'<div class="card"><h3>{title}</h3><div class="scroll"><table>{rows}</table></div></div>'
    )


def wide_card(heading: str, chart: BarChart) -> str:
    """Make a section of one chart with bars."""
    return f'<h2>{heading}</h2><div class="cards">{bars_card(chart)}</div>'
