# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Style sheet of the report, and the script that draws the plots in its colours."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1a2029; --soft: #5a6675; --line: #e3e7ec;
  --grid: #eceff3; --accent: #2f6fdb; --bar: #2f6fdb; --base: #b9c4d3;
  --good: #1d7f45; --good-bg: #e0f3e7; --warn: #8a5a00; --warn-bg: #fdf0d2; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1a2028; --ink: #e6eaf0; --soft: #9aa7b6; --line: #2b333e;
  --grid: #262e38; --accent: #6aa1ff; --bar: #5b93f0; --base: #465365;
  --good: #6fd699; --good-bg: #173524; --warn: #f0c060; --warn-bg: #3a2e12; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 38px 0 12px; }
h3 { font-size: 14px; margin: 0; font-weight: 600; }
header { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; }
header p { flex-basis: 100%; margin: 0; color: var(--soft); }
.pill { font-size: 13px; font-weight: 600; padding: 2px 11px; border-radius: 99px;
  background: var(--good-bg); color: var(--good); }
.pill.warn { background: var(--warn-bg); color: var(--warn); }
.note { color: var(--soft); font-size: 13px; margin: 2px 0 0; }
.notice { background: var(--warn-bg); color: var(--warn); padding: 9px 14px; border-radius: 8px;
  margin: 16px 0 0; }
.tiles { display: grid; gap: 12px; margin: 22px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 11px 15px; }
.tile span { display: block; color: var(--soft); font-size: 13px; }
.tile b { font-size: 18px; font-weight: 650; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.tile.first b { color: var(--accent); font-size: 23px; line-height: 1.2; }
.cards { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 390px), 1fr)); }
.cards.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); }
.cards.small .card { max-width: 480px; }
.card { padding: 14px 16px; min-width: 0; }
.card.wide { grid-column: 1 / -1; }
.plot { margin-top: 6px; }
.spikeline { stroke: var(--soft) !important; stroke-width: 1px !important; }
.empty { color: var(--soft); margin: 26px 0; text-align: center; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child > * { border-bottom: 0; }
.figure { text-align: right; }
table.figures { width: auto; }
.figures th, .figures td { padding-right: 22px; }
details summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; margin: 10px 0 0;
  font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font: 12.5px ui-monospace, "DejaVu Sans Mono", monospace; }
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
@media (max-width: 560px) { main { padding: 18px 12px 40px; } }
"""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    'img-src data: blob:'
)
"""the page may load nothing: all it needs is in it"""

SCRIPT = """
const scheme = matchMedia('(prefers-color-scheme: dark)');
// Dragging a finger scrolls the page; dragging with a mouse zooms the plot.
const dragmode = matchMedia('(pointer: coarse)').matches ? false : 'zoom';
const draw = () => {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, grid, card] = ['ink', 'soft', 'line', 'grid', 'card'].map(
    name => style.getPropertyValue('--' + name).trim());
  for (const plot of document.querySelectorAll('.plot')) {
    const {data, layout} = JSON.parse(plot.dataset.figure);
    for (const trace of data.filter(trace => trace.meta === 'ink')) {
      trace.line = {...trace.line, color: ink};
      trace.marker = {...trace.marker, color: ink};
    }
    Object.assign(layout, {dragmode});
    layout.font.color = soft;
    Object.assign(layout.xaxis, {linecolor: line, gridcolor: grid});
    Object.assign(layout.yaxis, {linecolor: line, gridcolor: grid});
    layout.hoverlabel = {bgcolor: card, bordercolor: line, font: {color: ink}};
    Plotly.react(plot, data, layout, {responsive: true, displayModeBar: false});
  }
};
draw();
scheme.addEventListener('change', draw);
"""
