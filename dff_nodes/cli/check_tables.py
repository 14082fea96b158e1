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
from dff_nodes.runs.footprint import DeviceMemory, Footprint, NodeMemory, nodes_on
from dff_nodes.runs.resolve import LayerShape, ResolvedRun
from dff_nodes.schedules.chapter_footprint import ChapterFootprint
from dff_nodes.schedules.needs import ScheduleTraffic

Needs = Footprint | ChapterFootprint


def show(resolved: ResolvedRun, needs: Needs, host: str | None, console: Console) -> None:
    """Print what a run is and needs."""
    chapters = isinstance(needs, ChapterFootprint)
    title(console, 'Run')
    console.print(_facts_table(resolved, needs, console))
    title(console, 'Layers')
    shapes = needs.shapes if chapters else [layer.shape for layer in needs.layers]
    console.print(_layers_table(shapes, console))
    title(console, 'Network traffic (payload)')
    traffic = _parts_table if chapters else _traffic_table
    console.print(traffic(needs, console))
    title(console, f'Nodes and memory{f" of {host}" if host else ""}')
    nodes = _worker_nodes_table if chapters else _nodes_table
    console.print(nodes(nodes_on(needs.nodes, host), console))
    for device in needs.devices:
        if host in (None, device.device):
            console.print(_device_line(device), highlight=False)


def _facts_table(resolved: ResolvedRun, needs: Needs, console: Console) -> Table:
    config, data = resolved.config, resolved.facts
    shape = ' x '.join(str(size) for size in data.input_shape)
    streams, mode = 'labels instead of negatives', 'each layer scores all classes'
    if config.streams == 2:
        streams = f'{config.training.negatives.mode} negatives'
        mode = config.classification.mode
    samples, batches = 'samples', f'batches of {config.training.batch_size}'
    if resolved.is_graph:
        samples = f'of {units.number(data.nodes)} nodes, {units.number(data.edges)} edges,'
        batches = 'the whole graph at once'
    return facts(
        console,
        {
            'data': f'{config.data.dataset}: {data.train_samples} training and '
            f'{data.test_samples} test {samples} of {shape}, {data.classes} classes',
            'training': f'{config.training.epochs} epochs, {batches}, {streams}',
            'classification': f'{mode}, layers: {config.classification.layers.replace("_", " ")}',
            'compute': f'{config.compute.device}, {config.compute.precision} precision, threads '
            f'of each node: {config.compute.threads}',
            **_steps(resolved, needs),
            'configuration': f'{resolved.hash[:16]} (hash of what decides the result)',
        },
    )


def _steps(resolved: ResolvedRun, needs: Needs) -> dict[str, str]:
    """What the run is made of: items, or parts."""
    if isinstance(needs, ChapterFootprint):
        epochs, workers = needs.epochs_each, len(needs.nodes) - 1
        chapters = f'{units.number(needs.chapters)} of {epochs} epoch{"s" * (epochs > 1)}'
        makers = f'{workers} worker{"s" * (workers > 1)}'
        return {
            'schedule': f'{resolved.config.schedule.name}, chapters: {chapters}; '
            f'{units.number(needs.parts)} parts made by {makers}'
        }
    counts = needs.counts
    kinds = f'{counts.train_items} TRAIN, {counts.score_items} SCORE, '
    return {
        'items': f'{units.number(counts.items)} ({kinds}{counts.evaluate_items} EVALUATE, '
        f'{counts.marks} MARK); {needs.items_per_epoch} in an epoch without evaluation'
    }


def _layers_table(shapes: list[LayerShape], console: Console) -> Table:
    columns = ['layer', 'kind', 'takes >', 'gives >', 'parameters >', 'rule', 'optimizer']
    rows = [
        [
            shape.name,
            shape.config.type,
            units.shape(shape.input_shape),
            units.shape(shape.passed_shape),
            units.number(shape.parameters),
            _rule(shape),
            f'{shape.optimizer.name}, rate {shape.optimizer.learning_rate:g}',
        ]
        for shape in shapes
    ]
    return table(console, columns, rows)


def _rule(shape: LayerShape) -> str:
    words = _named(shape.config.rule.model_dump())
    parts = len(shape.config.auxiliary)
    if not parts:
        return words
    return f'{words}, behind {parts} {"part" if parts == 1 else "parts"} of its own'


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


def _parts_table(needs: ChapterFootprint, console: Console) -> Table:
    rows = [
        [each.node, units.size(each.received), units.size(each.sent)] for each in needs.traffic
    ]
    return table(console, ['node', 'received, whole run >', 'sent, whole run >'], rows)


def _worker_nodes_table(nodes: list[NodeMemory], console: Console) -> Table:
    columns = ['node', 'runs on', 'process >', 'data >', 'layers >', 'step >', 'cache >']
    columns += ['parts >', 'all >']
    rows = [
        [
            node.node,
            node.device or 'here',
            units.megabytes(node.process_mb),
            units.megabytes(node.data_mb),
            units.megabytes(node.state_mb),
            units.megabytes(node.working_mb),
            units.megabytes(node.cache_mb) if node.cache_mb else units.DASH,
            units.megabytes(node.window_mb),
            units.megabytes(node.needed_mb),
        ]
        for node in nodes
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


def show_schedules(
    compared: list[ScheduleTraffic], link_mbit: float | None, console: Console
) -> None:
    """Print what would move with each schedule, and which moves least."""
    title(console, 'Schedules (payload of the whole run)')
    columns = ['schedule', 'bytes >', 'busiest link', 'carries >']
    columns += [f'at {_rate(link_mbit)} >'] if link_mbit else []
    console.print(table(console, columns, [_schedule_row(each, link_mbit) for each in compared]))
    for each in compared:
        if each.refused:
            console.print(f'  {each.schedule}: {each.refused}', markup=False, highlight=False)
    console.print(f'  {_least(compared, link_mbit)}', markup=False, highlight=False)


def _rate(link_mbit: float) -> str:
    return f'{link_mbit:g} Mbit/s'


def _schedule_row(compared: ScheduleTraffic, link_mbit: float | None) -> list[str]:
    name = f'{compared.schedule} (chosen)' if compared.chosen else compared.schedule
    if compared.refused:
        return [name, units.DASH, 'not possible', units.DASH, *([units.DASH] if link_mbit else [])]
    busiest = compared.busiest
    seconds = [units.duration(busiest.seconds(link_mbit))] if link_mbit else []
    carries = units.size(max(busiest.received, busiest.sent))
    return [name, units.size(compared.bytes), busiest.node, carries, *seconds]


def _least(compared: list[ScheduleTraffic], link_mbit: float | None) -> str:
    """Say which schedule moves least, in bytes and in time."""
    possible = [each for each in compared if not each.refused]
    least = min(possible, key=lambda each: each.bytes)
    most = max(possible, key=lambda each: each.bytes)
    text = f'{least.schedule} moves least: {units.size(least.bytes)}'
    if most.bytes > least.bytes:
        text += f', {most.schedule} {most.bytes / least.bytes:.1f} times as much'
    if not link_mbit:
        return f'{text}; --link 100mbit tells what that is in time'
    # Bytes are summed over all links: the busiest may be quicker with another schedule.
    quickest = min(possible, key=lambda each: each.busiest.seconds(link_mbit))
    seconds = [units.duration(each.busiest.seconds(link_mbit)) for each in (least, quickest)]
    text += f'; at {_rate(link_mbit)} its busiest link is in use for {seconds[0]} of the run'
    if quickest is least or seconds[0] == seconds[1]:
        return text
    return f'{text}, that of {quickest.schedule} for {seconds[1]}'


def show_settings(settings: list[Setting], console: Console) -> None:
    """Print every setting."""
    title(console, 'Settings')
    rows = [[each.key, each.type, each.default, each.documentation] for each in settings]
    console.print(table(console, ['setting', 'type', 'default', 'meaning'], rows, lines=True))
