# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""One HTML page with the figures and plots of a run; it holds all it needs, no network."""

from __future__ import annotations

from html import escape

from dff_nodes.runs import units
from dff_nodes.runs.layers import (
    ConvolutionLayer,
    DenseLayer,
    GraphLayer,
    LayerConfig,
    PoolLayer,
)
from dff_nodes.runs.report_cards import page
from dff_nodes.runs.report_nodes import details_section, memory_section, network_section
from dff_nodes.runs.report_training import (
    accuracy_section,
    early_exit_section,
    evaluations,
    learning_section,
    speed_section,
)
from dff_nodes.runs.run_record import RunRecord


def render(run: RunRecord) -> str:
    """Make the whole page."""
    sections = [
        _header(run),
        _tiles(run),
        _notices(run),
        accuracy_section(run),
        early_exit_section(run),
        learning_section(run),
        speed_section(run),
        network_section(run),
        memory_section(run),
        details_section(run),
    ]
    return page(f'{run.name} - dff report', ''.join(each for each in sections if each))


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
        made = 'chapters' if config.schedule.chapters else 'items'
        what += f', {units.number(run.result.get("items"))} {made}'
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
    """Write a layer's size as `500 units`, `64 channels`, `2x2 pooled`, `3 parts`."""
    if isinstance(layer, (DenseLayer, GraphLayer)):
        return f'{layer.units} units'
    if isinstance(layer, ConvolutionLayer):
        return f'{layer.channels} channels'
    if isinstance(layer, PoolLayer):
        return f'{layer.size}x{layer.size} pooled'
    return f'{len(layer.parts)} {"part" if len(layer.parts) == 1 else "parts"}'


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
    tiles = {f'{run.config.data.tested_on} accuracy': accuracy}
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
    tests = evaluations(run, 'test')
    epochs = run.config.training.epochs
    return {
        f'newest {run.config.data.tested_on} accuracy': units.percent(
            tests[-1]['accuracy'] if tests else None, 2
        ),
        'epoch': f'{last.epoch + 1} of {epochs}' if last else units.DASH,
        f'newest {run.counted}': units.number(last.item if last else None),
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
