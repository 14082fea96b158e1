# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One HTML page with the figures and plots of a run; it holds all it needs, no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from dff_nodes.runs import charts, units
from dff_nodes.runs.charts import INK, Bar, BarChart, Line, LineChart
from dff_nodes.runs.layers import ConvolutionLayer, DenseLayer, GraphLayer, LayerConfig
from dff_nodes.runs.metrics import MetricsRow
from dff_nodes.runs.report_style import POLICY, SCRIPT, STYLE
from dff_nodes.runs.run_record import RunRecord

SCALE = ('#3d7bea', '#12a1ad', '#43a352', '#c79a16', '#e0703a', '#cc4a86')
"""first layer to last; each is readable on white and on dark"""
POSITIVE, NEGATIVE = '#2f9e58', '#d9534f'
STRONG, PALE = '#3d7bea', '#9fb0c6'
COORDINATOR = 'coordinator'


def render(run: RunRecord) -> str:
    """Make the whole page."""
    sections = [
        _header(run),
        _tiles(run),
        _notices(run),
        _accuracy(run),
        _early_exit(run),
        _learning(run),
        _speed(run),
        _network(run),
        _memory(run),
        _details(run),
    ]
    return page(f'{run.name} - dff report', ''.join(each for each in sections if each))


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


# ---- head --------------------------------------------------------------------------------


def _header(run: RunRecord) -> str:
    config = run.config
    sizes = _sizes([_size(layer) for layer in config.network])
    rules = ', '.join(dict.fromkeys(layer.rule.name for layer in config.network))
    count = len(config.network)
    negatives = ''
    if config.streams == 2:
        negatives = f'{config.training.negatives.mode} negatives, '
    what = (
        f'{escape(config.data.dataset)}, {count} {"layer" if count == 1 else "layers"} '
        f'({sizes}), {rules} rule, {negatives}'
        f'{config.training.epochs} {"epoch" if config.training.epochs == 1 else "epochs"}, '
        f'schedule {config.schedule.name}, seed {config.seed}'
    )
    if run.result is not None:
        what += f', {units.number(run.result.get("items"))} items'
    state = '<span class="pill">finished</span>'
    if run.result is None:
        state = '<span class="pill warn">not finished</span>'
    elif run.is_one_process:
        state += '<span class="pill">reference run, one process</span>'
    return f'<header><h1>{escape(run.name)}</h1>{state}<p>{what}</p></header>'


def _sizes(sizes: list[str]) -> str:
    """Write the layers' sizes as `500 – 500 – 500 units`, or shorter where all are the same."""
    kinds = {size.partition(' ')[2] for size in sizes}
    if len(sizes) > 4 and len(set(sizes)) == 1:
        return f'each {sizes[0]}'
    if len(kinds) > 1:
        return ' – '.join(sizes)
    return ' – '.join(size.partition(' ')[0] for size in sizes) + f' {kinds.pop()}'


def _size(layer: LayerConfig) -> str:
    """Write a layer's size as `500 units`, `64 channels`, `2 parts`."""
    if isinstance(layer, (DenseLayer, GraphLayer)):
        return f'{layer.units} units'
    if isinstance(layer, ConvolutionLayer):
        return f'{layer.channels} channels'
    return f'{len(layer.parts)} parts'


def _tiles(run: RunRecord) -> str:
    tiles = _final_tiles(run) if run.result is not None else _unfinished_tiles(run)
    parts = [
        f'<div class="tile{" first" if index == 0 else ""}"><span>{name}</span><b>{text}</b></div>'
        for index, (name, text) in enumerate(tiles.items())
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def _final_tiles(run: RunRecord) -> dict[str, str]:
    result = run.result or {}
    accuracy = units.percent(result.get('test_accuracy'), 2)
    tested = 'validation accuracy' if run.config.data.validation_samples else 'test accuracy'
    tiles = {tested: accuracy}
    if result.get('train_accuracy') is not None:
        tiles['train accuracy'] = units.percent(result['train_accuracy'], 2)
    parameters = sum(run.figure('parameter_bytes').values()) // 4
    return tiles | {
        'time': units.duration(result.get('seconds')),
        'set-up': units.duration(result.get('setup_seconds')),
        'samples/s': units.number(result.get('samples_per_second')),
        'parameters': units.number(parameters or None),
    }


def _unfinished_tiles(run: RunRecord) -> dict[str, str]:
    last = run.rows[-1] if run.rows else None
    tests = _evaluations(run, 'test')
    epochs = run.config.training.epochs
    return {
        'newest test accuracy': units.percent(tests[-1]['accuracy'] if tests else None, 2),
        'epoch': f'{last.epoch + 1} of {epochs}' if last else units.DASH,
        'newest item': units.number(last.item if last else None),
        'time so far': units.duration(last.seconds if last else None),
    }


def _notices(run: RunRecord) -> str:
    """Say what the reader must know before the plots."""
    notices = []
    if run.result is None:
        notices.append(
            'This run has no result yet: it is still going on, or was stopped. The plots show '
            'what there is; <code>dff train --resume</code> with its folder continues it.'
        )
    if not run.rows:
        notices.append('No metrics were recorded, so there are no plots of the learning.')
    words = {
        'restarts': 'restarted during the run',
        'resent_items': 'items were sent again',
        'rejected_messages': 'messages were refused',
    }
    for key, word in words.items():
        counts = {name: count for name, count in run.figure(key).items() if count}
        if counts:
            each = ', '.join(f'{escape(name)}: {count}' for name, count in counts.items())
            notices.append(f'{word[0].upper()}{word[1:]} ({each}).')
    return ''.join(f'<p class="notice">{notice}</p>' for notice in notices)


# ---- accuracy ----------------------------------------------------------------------------


def _evaluations(run: RunRecord, split: str) -> list[dict[str, Any]]:
    return [each for each in run.history if each.get('split') == split]


def _accuracy(run: RunRecord) -> str:
    tests = _evaluations(run, 'test')
    lines = [
        Line(
            name,
            [
                (each['epoch'] + 1, each['layer_accuracy'][layer])
                for each in tests
                if layer < len(each['layer_accuracy'])
            ],
            color(layer, len(run.layers)),
        )
        for layer, name in enumerate(run.layers)
    ]
    together = [(each['epoch'] + 1, each['accuracy']) for each in tests]
    lines.append(Line('all together', together, INK, 'strong'))
    # As high as the bars beside it.
    height = max(charts.LARGE, charts.BAR_ROW * len(run.layers) - 80)
    chart = LineChart(
        'Accuracy on the test set', 'epoch', lines, percent=True, whole_x=True, height=height
    )
    cards = line_card(chart) + _bars_card(_newest_accuracy(run, tests))
    return f'<h2>Accuracy</h2><div class="cards">{cards}</div>'


def _newest_accuracy(run: RunRecord, tests: list[dict[str, Any]]) -> BarChart:
    title = 'At the end, by layer' if run.result is not None else 'Newest, by layer'
    if not tests:
        return BarChart(title, {})
    newest = tests[-1]
    layers = [
        Bar(name, share, units.percent(share, 2), color(layer, len(run.layers)))
        for layer, (name, share) in enumerate(
            zip(run.layers, newest['layer_accuracy'], strict=False)
        )
    ]
    share = newest['accuracy']
    together = Bar('all together', share, units.percent(share, 2), INK)
    return BarChart(
        title,
        {'layers': layers, 'all together': [together]},
        f'{newest["samples"]} samples, after epoch {newest["epoch"] + 1}.',
        end=1.0,
        with_legend=False,
        height=charts.LARGE,
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


# ---- early exit --------------------------------------------------------------------------


def _early_exit(run: RunRecord) -> str:
    """Draw what could be saved by early exit and at what cost; nothing for other runs."""
    chosen = run.early_exit
    if chosen is None:
        return ''
    note = (
        f'On {units.number(chosen["validation_samples"])} validation samples, one k for all '
        'layers along each curve (threshold = mean - k * std). Chosen: '
        f'{units.percent(chosen["macs_saved"])} saved, accuracy '
        f'{units.percent(chosen["accuracy"], 2)} instead of '
        f'{units.percent(chosen["whole_accuracy"], 2)}, by {chosen["confidence"]}.'
    )
    lines = [
        Line(f'by {kind}', [_trade_off(each) for each in curve], fill)
        for (kind, curve), fill in zip(chosen['curve'].items(), (STRONG, SCALE[4]), strict=False)
    ]
    lines.append(Line('chosen', [_trade_off(chosen)], INK, 'strong'))
    lines.append(Line('whole network', [(0.0, chosen['whole_accuracy'])], PALE))
    chart = LineChart('Accuracy by MACs saved', 'MACs saved, %', lines, note, percent=True)
    answered = sum(chosen['answered'])
    bars = [
        Bar(name, count, units.percent(count / answered), color(layer, len(run.layers)))
        for layer, (name, count) in enumerate(zip(run.layers, chosen['answered'], strict=True))
    ]
    shares = BarChart(
        'Answered by each layer', {'samples': bars}, _threshold_note(run), with_legend=False
    )
    return f'<h2>Early exit</h2><div class="cards">{line_card(chart)}{_bars_card(shares)}</div>'


def _trade_off(point: dict[str, Any]) -> tuple[float, float]:
    return 100 * point['macs_saved'], point['accuracy']


def _threshold_note(run: RunRecord) -> str:
    """Tell how sure each layer must be."""
    chosen = run.early_exit or {}
    each = [
        f'{name}: never' if k is None else f'{name}: {threshold:.4g} (k {k:.3g})'
        for name, k, threshold in zip(run.layers, chosen['k'], chosen['thresholds'], strict=False)
    ]
    return f'Least {chosen["confidence"]} of {", ".join(each)}; the last layer always answers.'


# ---- learning ----------------------------------------------------------------------------


def _by_layer(run: RunRecord, value: Callable[[MetricsRow], float]) -> list[Line]:
    return [
        Line(
            name,
            [(row.item, value(row)) for row in run.of_layer(layer)],
            color(layer, len(run.layers)),
        )
        for layer, name in enumerate(run.layers)
    ]


@dataclass(frozen=True)
class _Words:
    """What the figures of a training step are called, by the kind of its rules."""

    separation: str
    separated: str
    gap: str
    difference: str
    both: str
    right: str
    wrong: str


WORDS = {
    2: _Words(
        'Separation',
        'Share of pairs whose positive sample has the higher goodness.',
        'Goodness gap',
        'Mean goodness of positive minus that of negative samples.',
        'Goodness of positive and negative samples',
        'positive',
        'negative',
    ),
    1: _Words(
        'Accuracy on training batches',
        'Share of samples whose true class scores highest, before the layer learns from them.',
        'Score gap',
        'Mean score of the true class minus that of the likeliest wrong one.',
        'Scores of the true class and of the likeliest wrong one',
        'true class',
        'wrong class',
    ),
}


def _learning(run: RunRecord) -> str:
    if not run.rows:
        return ''
    words = WORDS[run.config.streams]
    separation = LineChart(
        words.separation,
        'item',
        _by_layer(run, lambda row: row.separation),
        words.separated,
        percent=True,
    )
    loss = LineChart(
        'Loss', 'item', _by_layer(run, lambda row: row.loss), 'Of each layer, by its own rule.'
    )
    gap = LineChart(
        words.gap,
        'item',
        _by_layer(run, lambda row: row.positive_goodness - row.negative_goodness),
        words.difference,
    )
    rate = LineChart('Learning rate', 'item', _rates(run), from_zero=True)
    cards = ''.join(line_card(chart) for chart in (separation, gap, loss, rate))
    goodness = ''.join(line_card(_goodness(run, layer)) for layer in range(len(run.layers)))
    return (
        f'<h2>Learning</h2><div class="cards">{cards}</div>'
        f'<h2>{words.both}</h2>'
        f'<div class="cards small">{goodness}</div>'
    )


def _rates(run: RunRecord) -> list[Line]:
    """Give one line where all layers share one learning rate, as most do."""
    lines = _by_layer(run, lambda row: row.learning_rate)
    own = {(layer.optimizer, layer.learning_rate, layer.epochs) for layer in run.config.network}
    if len(lines) > 1 and len(own) == 1:
        return [Line('all layers', lines[0].points, INK)]
    return lines


def _goodness(run: RunRecord, layer: int) -> LineChart:
    rows, words = run.of_layer(layer), WORDS[run.config.streams]
    lines = [
        Line(words.right, [(row.item, row.positive_goodness) for row in rows], POSITIVE),
        Line(words.wrong, [(row.item, row.negative_goodness) for row in rows], NEGATIVE, 'dashed'),
    ]
    # Goodness begins at 0; scores are logarithms.
    from_zero = run.config.streams == 2
    return LineChart(run.layers[layer], 'item', lines, height=charts.SMALL, from_zero=from_zero)


# ---- speed, network, memory --------------------------------------------------------------


def _speed(run: RunRecord) -> str:
    if not run.rows:
        return ''
    speed = LineChart(
        'Throughput',
        'item',
        _by_layer(run, lambda row: row.samples_per_second),
        'Training samples per second.',
        from_zero=True,
    )
    share = LineChart(
        'Time spent computing',
        'item',
        _by_layer(run, lambda row: row.compute_share),
        'The rest is waiting: the layer closest to 100 % sets the pace.',
        y_range=(0.0, 1.02),
        percent=True,
    )
    return f'<h2>Speed</h2><div class="cards">{line_card(speed)}{line_card(share)}</div>'


def _network(run: RunRecord) -> str:
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
    return _wide('Network', BarChart('Bytes over each hop', groups, note))


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


def _memory(run: RunRecord) -> str:
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
    return _wide('Memory', chart)


def _own_memory(run: RunRecord) -> dict[str, float]:
    """Give what each process needs beyond PyTorch and ROS 2, MB, where that is known."""
    peak, base = run.figure('peak_rss_mb'), run.figure('base_rss_mb')
    return {name: max(0.0, peak[name] - base[name]) for name in peak if base.get(name)}


def _wide(heading: str, chart: BarChart) -> str:
    return f'<h2>{heading}</h2><div class="cards">{_bars_card(chart)}</div>'


# ---- details -----------------------------------------------------------------------------


def _details(run: RunRecord) -> str:
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
        parts.append(_table_card('Versions', versions))
    if weights:
        parts.append(_table_card('SHA-256 of the weights', weights))
    return f'<h2>Details</h2><div class="cards">{"".join(parts)}</div>'


def _processes(run: RunRecord) -> str:
    """Give the figures of each process as a table: what the charts show, to read and to copy."""
    columns = {
        'test accuracy': dict(zip(run.layers, _layer_accuracy(run), strict=False)),
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
    tests = _evaluations(run, 'test')
    return [units.percent(share, 2) for share in tests[-1]['layer_accuracy']] if tests else []


def _texts(run: RunRecord, key: str, text: Callable[[Any], str]) -> dict[str, str]:
    return {name: text(value) for name, value in run.figure(key).items()}


# ---- pieces ------------------------------------------------------------------------------


def line_card(chart: LineChart) -> str:
    """Draw lines on a card of the page."""
    return _plot_card(chart.title, chart.note, charts.lines_html(chart))


def _bars_card(chart: BarChart) -> str:
    return _plot_card(chart.title, chart.note, charts.bars_html(chart))


def _plot_card(title: str, note: str, plot: str) -> str:
    shown = f'<p class="note">{escape(note)}</p>' if note else ''
    return f'<div class="card"><h3>{escape(title)}</h3>{shown}{plot}</div>'


def _table_card(title: str, named: dict[str, str]) -> str:
    rows = ''.join(f'<tr><th>{name}</th><td>{text}</td></tr>' for name, text in named.items())
    return (
        f'<div class="card"><h3>{title}</h3><div class="scroll"><table>{rows}</table></div></div>'
    )
