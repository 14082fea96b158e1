# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The report of every kind of run is one sound page that needs nothing else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.runs import charts
from dff_nodes.runs.charts import Bar, BarChart, Line, LineChart, bars_html, lines_html, thin_out
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.journal import Journal
from dff_nodes.runs.metrics import MetricsFile, MetricsRow
from dff_nodes.runs.report import render
from dff_nodes.runs.report_cards import color
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run
from dff_nodes.runs.run_record import read_run, without_repeats

VOID = {'meta', 'br'}
CHARTS = 2 + 4 + 2
"""of accuracy, learning and speed, beside one of goodness for each layer"""


class Page(HTMLParser):
    """Parses a page; fails where a tag is not closed, and collects what it shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ''
        self.links: list[str] = []
        self.figures: dict[str, dict[str, Any]] = {}
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [str(value) for name, value in attrs if name in ('src', 'href')]
        named = dict(attrs)
        if 'data-figure' in named:
            self.figures[str(named['aria-label'])] = json.loads(str(named['data-figure']))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {'style', 'script'} & set(self.open):
            self.text += data


def row(layer: int, item: int, loss: float = 0.5) -> MetricsRow:
    return MetricsRow(
        item * 0.1, layer, item, item // 10, loss, 2.0, 0.5, 0.9, 0.003, 5000.0, 90.0, 0.8, 2
    )


def evaluation(epoch: int, layers: int, split: str = 'test') -> dict[str, Any]:
    return {
        'epoch': epoch, 'split': split, 'samples': 360,
        'accuracy': 0.9, 'layer_accuracy': [0.8] * layers,
    }  # fmt: skip


def result_of(layers: int, wire: int = 1000) -> dict[str, Any]:
    names = [f'layer_{index}' for index in range(layers)]
    return {
        'test_accuracy': 0.9123, 'train_accuracy': 0.95, 'layer_accuracy': [0.8] * layers,
        'epochs': 3, 'items': 30, 'seconds': 12.0, 'setup_seconds': 1.0,
        'samples_per_second': 5000.0,
        'weights_sha256': dict.fromkeys(names, 'ab' * 32),
        'wire_bytes': dict.fromkeys(names, wire),
        'goodness_bytes': dict.fromkeys(names, wire // 10),
        'parameter_bytes': dict.fromkeys(names, 4000),
        'peak_rss_mb': {'coordinator': 300.0} | dict.fromkeys(names, 280.0),
        'base_rss_mb': dict.fromkeys(names, 250.0),
        'restarts': dict.fromkeys(names, 0),
        'rejected_messages': {'coordinator': 0},
        'history': [evaluation(epoch, layers) for epoch in range(3)],
        'versions': {'torch': '2.13.0', 'ros': 'jazzy'},
    }  # fmt: skip


def make_run(
    tmp_path: Path,
    layers: int = 3,
    items: int = 30,
    result: dict | None = None,
    held_out: int = 0,
    schedule: str = 'stream',
) -> RunFolder:
    settings = [f'network={json.dumps([{"units": 20}] * layers)}', 'training.epochs=3']
    settings += [f'data.validation_samples={held_out}', f'schedule={schedule}']
    config = load_config(None, settings)
    folder = create_run(tmp_path, 'sample', resolve(config, read_facts(config.data)))
    file = MetricsFile(folder.metrics_file)
    for item in range(items):
        for layer in range(layers):
            file.write(row(layer, item))
    file.close()
    if result:
        folder.write_result(result)
    return folder


def page_of(folder: RunFolder) -> Page:
    page = Page(render(read_run(folder)))
    assert not re.search(r'\b(nan|inf|None)\b', page.text)
    assert 'NaN' not in json.dumps(page.figures)
    return page


def test_a_finished_run_shows_all_it_measured(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, result=result_of(3)))
    for words in (
        'sample', 'finished', '91.23 %', '95.00 %', '12.0 s', '280 MB', '30.0 MB', 'jazzy',
        'epochs: 3', 'Separation', 'Learning rate', 'Throughput', 'Time spent computing',
    ):  # fmt: skip
        assert words in page.text, words
    assert 'not finished' not in page.text
    assert len(page.figures) == CHARTS + 3 + 2
    hops = page.figures['Bytes over each hop']['data']
    assert hops[0]['y'] == ['coordinator → layer_0', 'layer_0 → layer_1', 'layer_1 → layer_2']
    assert hops[1]['y'][-1] == 'layer_2 → coordinator'
    memory = page.figures['Largest resident memory of each process']['data']
    assert memory[1]['text'] == ['280 MB (+30.0 MB)'] * 3


@pytest.mark.parametrize(
    ('schedule', 'made', 'axis'),
    [('stream', '30 items', 'item'), ('all_layers', '30 chapters', 'training step')],
)
def test_what_is_counted_depends_on_the_schedule(
    tmp_path: Path, schedule: str, made: str, axis: str
) -> None:
    page = page_of(make_run(tmp_path, result=result_of(3), schedule=schedule))
    assert f', {made}' in page.text
    for chart in ('Loss', 'Learning rate', 'Throughput', 'layer_1'):
        assert page.figures[chart]['layout']['xaxis']['title']['text'] == axis


@pytest.mark.parametrize('result', [result_of(3), None])
def test_validation_samples_are_not_called_the_test_set(
    tmp_path: Path, result: dict[str, Any] | None
) -> None:
    page = page_of(make_run(tmp_path, result=result, held_out=300))
    assert 'validation accuracy' in page.text
    assert 'test accuracy' not in page.text
    assert 'test set' not in page.text
    assert ('Accuracy on the validation samples' in page.figures) == (result is not None)


def calibration(layers: int, weights: dict[str, str]) -> dict[str, Any]:
    """Make what dff calibrate writes."""
    point = {'accuracy': 0.985, 'macs_saved': 0.7, 'answered': [*[100] * (layers - 1), 7]}
    exits = layers - 1
    return {
        'weights_sha256': weights, 'validation_samples': sum(point['answered']),
        'classification': {'mode': 'goodness', 'layers': 'all'},
        'whole_accuracy': 0.986, 'confidence': 'score', 'k': [None, *[1.5] * (exits - 1)],
        'thresholds': [None, *[0.25] * (exits - 1)], **point,
        'curve': {'score': [{'k': 0.1 * step, **point} for step in range(9)], 'margin': []},
    }  # fmt: skip


@pytest.mark.parametrize('layers', [2, 5])
def test_a_calibrated_run_shows_what_can_be_saved(tmp_path: Path, layers: int) -> None:
    result = result_of(layers)
    folder = make_run(tmp_path, layers, result=result)
    folder.write_early_exit(calibration(layers, result['weights_sha256']))
    page = page_of(folder)
    lines = page.figures['Accuracy by MACs saved']['data']
    assert [line['name'] for line in lines] == ['by score', 'chosen', 'whole network']
    assert (lines[1]['x'], lines[1]['y']) == ([70], [0.985])
    shares = page.figures['Answered by each layer']['data'][0]
    assert shares['y'] == [f'layer_{layer}' for layer in range(layers)]
    assert '70.0 % saved, accuracy 98.50 % instead of 98.60 %' in page.text
    assert 'layer_0: never' in page.text


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    folder = make_run(tmp_path, result=result_of(3))
    text = render(read_run(folder))
    assert Page(text).links == []
    own = text.replace(charts.script(), '')
    for word in ('@import', 'url(', 'fetch(', 'src='):
        assert word not in own
    assert "default-src 'none'" in own
    assert 'prefers-color-scheme: dark' in own
    assert len(own) < 200_000
    assert len(text) < 6_000_000


def test_long_runs_are_thinned_out(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, layers=1, items=3000))
    assert len(page.figures['Loss']['data'][0]['x']) == 500
    assert 'markers' not in page.figures['Loss']['data'][0]['mode']


def test_a_run_that_did_not_finish_shows_what_there_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    journal = Journal(folder.journal_file, 'a' * 32)
    for epoch in (0, 1):
        journal.append({'item': epoch})
        journal.append({'evaluation': evaluation(epoch, 3)})
    journal.close()
    page = page_of(folder)
    assert 'not finished' in page.text
    assert 'dff train --resume' in page.text
    assert '90.00 %' in page.text
    assert '3 of 3' in page.text
    assert len(page.figures) == CHARTS + 3
    assert 'Bytes over each hop' not in page.text


def test_a_reference_run_has_one_process_and_no_network(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, result=result_of(3, wire=0)))
    assert 'one process' in page.text
    assert 'Bytes over each hop' not in page.text
    memory = page.figures['Largest resident memory of each process']['data']
    assert memory[0]['y'] == ['all in one process']


@pytest.mark.parametrize('layers', [1, 20])
def test_any_number_of_layers_is_drawn(tmp_path: Path, layers: int) -> None:
    page = page_of(make_run(tmp_path, layers, result=result_of(layers)))
    assert len(page.figures) == CHARTS + layers + 2
    assert f'layer_{layers - 1}' in page.text


def test_a_run_without_metrics_says_so(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, items=0))
    assert 'No metrics were recorded' in page.text
    assert page.figures == {}
    assert 'script' not in page.seen


def test_a_run_without_a_metrics_file_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path, items=0)
    folder.metrics_file.unlink()
    assert 'No metrics were recorded' in page_of(folder).text


def test_trouble_is_told_and_peace_is_not(tmp_path: Path) -> None:
    result = result_of(3) | {'restarts': {'layer_1': 2, 'layer_0': 0}}
    text = page_of(make_run(tmp_path, result=result)).text
    assert 'Restarted during the run (layer_1: 2).' in text
    assert 'refused' not in text


def test_an_old_result_without_some_keys_is_drawn(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, result={'test_accuracy': None, 'seconds': 0}))
    assert 'finished' in page.text


def test_text_of_others_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    result = result_of(3)
    result['versions'] = {'<b>x</b>': '<script>alert(1)</script>'}
    folder = make_run(tmp_path, result=result)
    assert '<script>alert' not in render(read_run(folder))


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path, layers=1, items=5)
    file = MetricsFile(folder.metrics_file)
    file.write(row(0, 6, loss=math.nan))
    file.write(row(0, 7, loss=math.inf))
    file.close()
    page_of(folder)


def test_rows_that_were_trained_again_are_there_once() -> None:
    first = [row(0, item, loss=1.0) for item in (1, 2, 3, 4)]
    again = [row(0, item, loss=2.0) for item in (3, 4, 5)]
    other = [row(1, 1)]
    kept = without_repeats(first + other + again)
    assert [(each.item, each.loss) for each in kept if each.layer == 0] == [
        (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0),
    ]  # fmt: skip
    assert [each for each in kept if each.layer == 1] == other


@pytest.mark.parametrize('values', [[0.0], [0.5, 0.5], [-3.0, 7.0], [1e-9, 2e-9], [1e12, 3e12]])
def test_every_range_of_values_is_drawn(values: list[float]) -> None:
    points = [(float(index), value) for index, value in enumerate(values)]
    figures = Page(lines_html(LineChart('any', 'item', [Line('one', points, 'red')]))).figures
    assert figures['any']['data'][0]['y'] == values
    assert figures['any']['layout']['showlegend'] is False


def test_lines_that_nothing_is_known_of_are_left_out() -> None:
    lines = [Line('none', [(1.0, math.nan)], 'red'), Line('one', [(1.0, 2.0)], 'blue')]
    figures = Page(lines_html(LineChart('any', 'item', lines))).figures
    assert [line['name'] for line in figures['any']['data']] == ['one']
    assert 'Nothing was recorded' in lines_html(LineChart('any', 'item', lines[:1]))


def test_bars_end_within_the_chart() -> None:
    bars = {'a': [Bar('x', 2.0, '2', 'red')], 'b': [Bar('x', 1.0, '3', 'blue')], 'c': []}
    figure = Page(bars_html(BarChart('any', bars))).figures['any']
    assert figure['layout']['xaxis']['range'][1] >= 3.0
    assert [group['name'] for group in figure['data']] == ['a', 'b']
    assert 'Nothing was recorded' in bars_html(BarChart('any', {'a': []}))


def test_many_points_become_means_of_neighbours() -> None:
    points = [(float(index), float(index % 2)) for index in range(1000)]
    thinned = thin_out(points, 100)
    assert len(thinned) == 100
    assert {y for _, y in thinned} == {0.5}
    assert thin_out(points, 1000) == points


def test_layers_have_different_colours() -> None:
    assert len({color(layer, 20) for layer in range(20)}) == 20
    assert color(0, 1) == color(0, 20)


def test_a_run_on_a_graph_is_drawn(tmp_path: Path, save_graph: Callable[..., Path]) -> None:
    config = load_config(None, [f'data.dataset={save_graph()}', 'network=graph'])
    folder = create_run(tmp_path, 'sample', resolve(config, read_facts(config.data)))
    folder.write_result(result_of(2))
    assert '256 – 256 units' in page_of(folder).text


def test_the_size_of_every_kind_of_layer_is_written(tmp_path: Path) -> None:
    conv = '{type: conv, channels: 7}'
    layers = [
        '{type: conv, channels: 7, rule: softmax_head}',
        '{type: pool, size: 3, rule: softmax_head}',
        f'{{type: block, parts: [{conv}, {conv}], rule: softmax_head}}',
        '{type: torchvision, parts: [stem], rule: block_softmax}',
        '{units: 30, rule: softmax_head}',
    ]
    config = load_config(None, [f'network=[{", ".join(layers)}]'])
    folder = create_run(tmp_path, 'sample', resolve(config, read_facts(config.data)))
    text = '7 channels – 3x3 pooled – 2 parts – 1 part – 30 units'
    assert text in page_of(folder).text
