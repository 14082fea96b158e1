# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The tables that `dff check` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from dff_nodes.cli.tables import facts, table, title
from dff_nodes.runs import units
from dff_nodes.runs.explain import Setting
from dff_nodes.runs.footprint import DeviceMemory, Footprint, NodeMemory
from dff_nodes.runs.resolve import ResolvedRun


def show(resolved: ResolvedRun, needs: Footprint, host: str | None, console: Console) -> None:
    """Print what a run is and needs."""
    title(console, 'Run')
    console.print(_facts_table(resolved, needs, console))
    title(console, 'Layers')
    console.print(_layers_table(needs, console))
    title(console, 'Network traffic (payload)')
    console.print(_traffic_table(needs, console))
    title(console, f'Nodes and memory{f" of {host}" if host else ""}')
    console.print(_nodes_table(needs.nodes_of(host), console))
    for device in needs.devices:
        if host in (None, device.device):
            console.print(_device_line(device), highlight=False)


def _facts_table(resolved: ResolvedRun, needs: Footprint, console: Console) -> Table:
    config, data, counts = resolved.config, resolved.facts, needs.counts
    shape = ' x '.join(str(size) for size in data.input_shape)
    streams, mode = 'labels instead of negatives', 'each layer scores all classes'
    if config.streams == 2:
        streams = f'{config.training.negatives.mode} negatives'
        mode = config.classification.mode
    samples, batches = 'samples', f'batches of {config.training.batch_size}'
    if resolved.is_graph:
        samples = f'of {units.number(data.nodes)} nodes, {units.number(data.edges)} edges,'
        batches = 'the whole graph at once'
    kinds = f'{counts.train_items} TRAIN, {counts.score_items} SCORE, '
    return facts(
        console,
        {
            'data': f'{config.data.dataset}: {data.train_samples} training and '
            f'{data.test_samples} test {samples} of {shape}, {data.classes} classes',
            'training': f'{config.training.epochs} epochs, {batches}, {streams}',
            'classification': f'{mode}, layers: {config.classification.layers.replace("_", " ")}',
            'compute': f'{config.compute.device}, threads of each node: {config.compute.threads}',
            'items': f'{units.number(counts.items)} ({kinds}{counts.evaluate_items} EVALUATE, '
            f'{counts.marks} MARK); {needs.items_per_epoch} in an epoch without evaluation',
            'configuration': f'{resolved.hash[:16]} (hash of what decides the result)',
        },
    )


def _layers_table(needs: Footprint, console: Console) -> Table:
    columns = ['layer', 'kind', 'takes >', 'gives >', 'parameters >', 'rule', 'optimizer']
    rows = [
        [
            layer.shape.name,
            layer.shape.config.type,
            units.shape(layer.shape.input_shape),
            units.shape(layer.shape.passed_shape),
            units.number(layer.shape.parameters),
            _named(layer.shape.config.rule.model_dump()),
            f'{layer.shape.optimizer.name}, rate {layer.shape.optimizer.learning_rate:g}',
        ]
        for layer in needs.layers
    ]
    return table(console, columns, rows)


def _named(settings: dict[str, Any]) -> str:
    """Write a rule as `swish, alpha 6, mean goodness`."""
    words = [settings['name']]
    for key, value in settings.items():
        if isinstance(value, float) and value:
            words.append(f'{key.replace("_", " ")} {value:g}')
    if 'goodness' in settings:
        words.append(f'{settings["goodness"]} goodness')
    return ', '.join(words)


def _traffic_table(needs: Footprint, console: Console) -> Table:
    senders = ['coordinator', *(layer.shape.name for layer in needs.layers)]
    columns = ['hop', 'TRAIN >', 'SCORE >', 'EVALUATE >', 'whole run >', 'scores back >']
    rows = [
        [
            f'{sender} → {layer.shape.name}',
            units.size(layer.item_bytes.train),
            units.size(layer.item_bytes.score) if layer.item_bytes.score else units.DASH,
            units.size(layer.item_bytes.evaluate),
            units.size(layer.hop_bytes),
            units.size(layer.goodness_bytes),
        ]
        for sender, layer in zip(senders, needs.layers, strict=False)
    ]
    return table(console, columns, rows)


def _nodes_table(nodes: list[NodeMemory], console: Console) -> Table:
    columns = ['node', 'runs on', 'process >', 'state >', 'step >', 'windows >']
    columns += ['all >', 'replay >']
    rows = [
        [
            node.node,
            node.device or 'here',
            units.megabytes(node.process_mb),
            units.megabytes(node.state_mb),
            units.megabytes(node.working_mb) if node.working_mb else units.DASH,
            units.megabytes(node.window_mb),
            units.megabytes(node.needed_mb),
            f'≤ {units.megabytes(node.replay_mb)}' if node.replay_mb else units.DASH,
        ]
        for node in nodes
    ]
    return table(console, columns, rows)


def _device_line(device: DeviceMemory) -> str:
    has = 'its memory_mb is not set'
    if device.available_mb:
        has = f'of {units.megabytes(device.available_mb)}'
    return f'  {device.device}: {units.megabytes(device.needed_mb)} {has}'


def show_settings(settings: list[Setting], console: Console) -> None:
    """Print every setting."""
    title(console, 'Settings')
    rows = [[each.key, each.type, each.default, each.documentation] for each in settings]
    console.print(table(console, ['setting', 'type', 'default', 'meaning'], rows, lines=True))
