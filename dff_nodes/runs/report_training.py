# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Sections of a report on how a run learns: accuracy, early exit, steps, speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dff_nodes.runs import charts, units
from dff_nodes.runs.charts import INK, Bar, BarChart, Line, LineChart
from dff_nodes.runs.metrics import MetricsRow
from dff_nodes.runs.report_cards import (
    NEGATIVE,
    PALE,
    POSITIVE,
    SCALE,
    STRONG,
    bars_card,
    color,
    line_card,
)
from dff_nodes.runs.run_record import RunRecord


def evaluations(run: RunRecord, split: str) -> list[dict[str, Any]]:
    """Give the evaluations of a split, first to last."""
    return [each for each in run.history if each.get('split') == split]


def accuracy_section(run: RunRecord) -> str:
    """Draw the accuracy of each layer and of all together, over the epochs and at the end."""
    tests = evaluations(run, 'test')
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
    samples = 'validation samples' if run.config.data.validation_samples else 'test set'
    chart = LineChart(
        f'Accuracy on the {samples}', 'epoch', lines, percent=True, whole_x=True, height=height
    )
    cards = line_card(chart) + bars_card(_newest_accuracy(run, tests))
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


def early_exit_section(run: RunRecord) -> str:
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
    return f'<h2>Early exit</h2><div class="cards">{line_card(chart)}{bars_card(shares)}</div>'


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


def learning_section(run: RunRecord) -> str:
    """Draw what the training steps of each layer showed; nothing before the first."""
    if not run.rows:
        return ''
    words = WORDS[run.config.streams]
    separation = LineChart(
        words.separation,
        run.counted,
        _by_layer(run, lambda row: row.separation),
        words.separated,
        percent=True,
    )
    loss = LineChart(
        'Loss',
        run.counted,
        _by_layer(run, lambda row: row.loss),
        'Of each layer, by its own rule.',
    )
    gap = LineChart(
        words.gap,
        run.counted,
        _by_layer(run, lambda row: row.positive_goodness - row.negative_goodness),
        words.difference,
    )
    rate = LineChart('Learning rate', run.counted, _rates(run), from_zero=True)
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
    own = {
        (layer.optimizer, layer.learning_rate, tuple(layer.windows.items()))
        for layer in run.config.network
    }
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
    return LineChart(
        run.layers[layer], run.counted, lines, height=charts.SMALL, from_zero=from_zero
    )


def speed_section(run: RunRecord) -> str:
    """Draw throughput and computing time of each layer; nothing before the first figures."""
    if not run.rows:
        return ''
    speed = LineChart(
        'Throughput',
        run.counted,
        _by_layer(run, lambda row: row.samples_per_second),
        'Training samples per second.',
        from_zero=True,
    )
    share = LineChart(
        'Time spent computing',
        run.counted,
        _by_layer(run, lambda row: row.compute_share),
        'The rest is waiting: the layer closest to 100 % sets the pace.',
        y_range=(0.0, 1.02),
        percent=True,
    )
    return f'<h2>Speed</h2><div class="cards">{line_card(speed)}{line_card(share)}</div>'
