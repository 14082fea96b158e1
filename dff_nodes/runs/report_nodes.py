# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Sections of a report on the processes of a run: traffic, memory, figures to copy."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from dff_nodes.runs import units
from dff_nodes.runs.charts import Bar, BarChart
from dff_nodes.runs.report_cards import (
    PALE,
    SCALE,
    STRONG,
    table_card,
    wide_card,
)
from dff_nodes.runs.report_training import evaluations
from dff_nodes.runs.run_record import RunRecord

COORDINATOR = 'coordinator'


def network_section(run: RunRecord) -> str:
    """Draw the bytes of each hop; nothing for a run that used no network."""
    wire, back = run.figure('wire_bytes'), run.figure('goodness_bytes')
    if not any(wire.values()):
        return ''
    activity = _hops(run, wire)
    scores = {f'{name} → {COORDINATOR}': back[name] for name in run.layers if name in back}
    total = sum(activity.values()) + sum(scores.values())
    seconds = (run.result or {}).get('seconds') or 0
    note = f'{units.size(total)} of payload in all'
    note += f', {units.size(total / seconds)} per second.' if seconds else '.'
    groups = {'activity': _byte_bars(activity, STRONG), 'scores': _byte_bars(scores, SCALE[1])}
    if run.config.schedule.chapters:
        groups = {'layers': _byte_bars(activity, STRONG)}
    return wide_card('Network', BarChart('Bytes over each hop', groups, note))


def _hops(run: RunRecord, wire: dict[str, int]) -> dict[str, int]:
    """Give the bytes of activities, or of layers that travel, by their way."""
    if run.config.schedule.chapters:
        return {f'→ {name}': count for name, count in wire.items()}
    senders = [COORDINATOR, *run.layers[:-1]]
    return {
        f'{sender} → {name}': wire.get(name) or 0
        for sender, name in zip(senders, run.layers, strict=True)
    }


def _byte_bars(counts: dict[str, int], fill: str) -> list[Bar]:
    return [Bar(hop, count, units.size(count), fill) for hop, count in counts.items()]


def memory_section(run: RunRecord) -> str:
    """Draw the peak memory of each process; nothing where that is not known."""
    peak, own = run.figure('peak_rss_mb'), _own_memory(run)
    if not peak:
        return ''
    if run.is_one_process:
        peak = {'all in one process': max(peak.values())}
        own = {'all in one process': max(own.values())} if own else {}
    below = [
        Bar(name, value - own.get(name, 0.0), '' if name in own else units.megabytes(value), PALE)
        for name, value in peak.items()
    ]
    above = [
        Bar(name, value, f'{units.megabytes(peak[name])} (+{units.megabytes(value)})', STRONG)
        for name, value in own.items()
    ]
    chart = BarChart(
        'Largest resident memory of each process',
        {'PyTorch and ROS 2': below, 'what the layer adds': above},
        'After the +: what the layer adds to what every process needs.' if own else '',
        room=136,
    )
    return wide_card('Memory', chart)


def _own_memory(run: RunRecord) -> dict[str, float]:
    """Give what each process needs beyond PyTorch and ROS 2, MB, where that is known."""
    peak, base = run.figure('peak_rss_mb'), run.figure('base_rss_mb')
    return {name: max(0.0, peak[name] - base[name]) for name in peak if base.get(name)}


def details_section(run: RunRecord) -> str:
    """Give all figures, the configuration, versions and digests as text."""
    versions = {escape(name): escape(str(text)) for name, text in run.figure('versions').items()}
    weights = {
        escape(name): f'<code>{escape(digest)}</code>'
        for name, digest in run.figure('weights_sha256').items()
    }
    parts = [
        _processes(run),
        '<details class="card wide"><summary>Configuration</summary>'
        f'<pre>{escape(run.config_text)}</pre></details>',
    ]
    if versions:
        parts.append(table_card('Versions', versions))
    if weights:
        parts.append(table_card('SHA-256 of the weights', weights))
    return f'<h2>Details</h2><div class="cards">{"".join(parts)}</div>'


def _processes(run: RunRecord) -> str:
    """Give the figures of each process as a table: what the charts show, to read and to copy."""
    columns = {
        f'{run.config.data.tested_on} accuracy': dict(
            zip(run.layers, _layer_accuracy(run), strict=False)
        ),
        'parameters': _texts(run, 'parameter_bytes', lambda count: units.number(count // 4)),
    }
    if not run.is_one_process:
        columns |= {
            'received': _texts(run, 'wire_bytes', units.size),
            'scores sent': _texts(run, 'goodness_bytes', units.size),
            'peak memory': _texts(run, 'peak_rss_mb', units.megabytes),
            'over PyTorch': {
                name: units.megabytes(value) for name, value in _own_memory(run).items()
            },
        }
    columns = {title: texts for title, texts in columns.items() if texts}
    if not columns:
        return ''
    names = list(dict.fromkeys(name for texts in columns.values() for name in texts))
    head = ''.join(f'<th class="figure">{title}</th>' for title in columns)
    rows = ''.join(_process_row(name, columns) for name in names)
    return (
        '<div class="card wide"><h3>Figures</h3><div class="scroll"><table class="figures">'
        f'<tr><th></th>{head}</tr>{rows}</table></div></div>'
    )


def _process_row(name: str, columns: dict[str, dict[str, str]]) -> str:
    cells = ''.join(
        f'<td class="figure">{texts.get(name, units.DASH)}</td>' for texts in columns.values()
    )
    return f'<tr><td>{escape(name)}</td>{cells}</tr>'


def _layer_accuracy(run: RunRecord) -> list[str]:
    tests = evaluations(run, 'test')
    return [units.percent(share, 2) for share in tests[-1]['layer_accuracy']] if tests else []


def _texts(run: RunRecord, key: str, text: Callable[[Any], str]) -> dict[str, str]:
    return {name: text(value) for name, value in run.figure(key).items()}
