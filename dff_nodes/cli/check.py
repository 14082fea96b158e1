# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Check a configuration and say what its run will need, without starting anything."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from dataclasses import asdict
from typing import Any

from dff_nodes.data.facts import data_warnings, read_facts
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.explain import explain_settings
from dff_nodes.runs.footprint import (
    DeviceMemory,
    Footprint,
    LayerFootprint,
    check_memory,
    memory_here_mb,
    memory_warnings,
    nodes_on,
)
from dff_nodes.runs.options import link_mbit
from dff_nodes.runs.processor import computes_bfloat16
from dff_nodes.runs.resolve import LayerShape, ResolvedRun, resolve
from dff_nodes.runs.unused_settings import unused_settings
from dff_nodes.schedules.chapter_footprint import ChapterFootprint
from dff_nodes.schedules.needs import ScheduleTraffic, compare_schedules, run_needs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        'config', nargs='?', help='configuration file; without one, the defaults (digits)'
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='override one setting, for example --set network.1.units=500; may be repeated',
    )
    parser.add_argument(
        '--explain',
        action='store_true',
        help='print every setting with its type, default and documentation',
    )
    parser.add_argument('--host', metavar='NAME', help='show the nodes of this device only')
    parser.add_argument(
        '--link',
        metavar='RATE',
        help='compare the schedules on links of this rate, for example 100mbit; default '
        'lab.link_mbit',
    )


def run(arguments: argparse.Namespace) -> int:
    """Check, print and return 0; raises ConfigError or DataError for what does not fit."""
    from dff_nodes.cli import check_tables, tables  # deferred: imports rich

    config = load_config(arguments.config, arguments.set)
    _check_host(config, arguments.host)
    resolved = resolve(config, read_facts(config.data))
    needs = run_needs(resolved)
    check_memory(needs.devices)
    mbit = link_mbit(arguments.link) if arguments.link else config.lab.link_mbit
    compared = compare_schedules(resolved)
    settings = explain_settings() if arguments.explain else []
    console = tables.make_console(sys.stderr if arguments.json else sys.stdout)
    warnings = memory_warnings(needs.devices) + _warnings_here(needs) + _slow_here(config)
    warnings += unused_settings(resolved) + data_warnings(resolved.config.data)
    check_tables.show(resolved, needs, arguments.host, console)
    check_tables.show_schedules(compared, mbit, console)
    if settings:
        check_tables.show_settings(settings, console)
    for warning in warnings:
        console.print(f'warning: {warning}', style='yellow', markup=False, highlight=False)
    if arguments.json:
        tree = as_json(resolved, needs, arguments.host, warnings)
        tree['schedules'] = [_schedule_json(each, mbit) for each in compared]
        tree['link_mbit'] = mbit
        if settings:
            tree['settings'] = [asdict(each) for each in settings]
        print(json.dumps(tree))
    return 0


def _check_host(config: Config, host: str | None) -> None:
    if host is None or host in config.devices:
        return
    if not config.placement:
        raise ConfigError(
            f'--host {host}: this configuration has no placement, so all nodes run on one machine'
        )
    near = difflib.get_close_matches(host, list(config.devices), n=1)
    hint = f'did you mean {near[0]}?' if near else f'there are {", ".join(config.devices)}'
    raise ConfigError(f'--host {host} is no device of placement; {hint}')


def _warnings_here(needs: Footprint | ChapterFootprint) -> list[str]:
    """Compare with this machine what no placement gives to another."""
    if needs.devices:
        return []
    here = DeviceMemory('this machine', needs.nodes, memory_here_mb())
    if here.needed_mb <= here.available_mb:
        return []
    return [
        f'the nodes need {here.needed_mb:.0f} MB, this machine has {here.available_mb:.0f} MB: '
        'use fewer layers, or placement for several devices'
    ]


def _slow_here(config: Config) -> list[str]:
    """Say that this machine's processor is not made for a precision."""
    if config.placement or config.compute.precision != 'bfloat16' or computes_bfloat16():
        return []
    return [
        'compute.precision bfloat16 is several times slower than float32 on this processor, which '
        "has no instructions for it: use 'auto' or 'float32' unless a CUDA device computes here"
    ]


def as_json(
    resolved: ResolvedRun,
    needs: Footprint | ChapterFootprint,
    host: str | None,
    warnings: list[str],
) -> dict[str, Any]:
    """Give what a run is and needs."""
    nodes = nodes_on(needs.nodes, host)
    return {
        'config': resolved.config.model_dump(mode='json'),
        'config_hash': resolved.hash,
        'data': resolved.facts.as_dict(),
        **(_chapters_json(needs) if isinstance(needs, ChapterFootprint) else _items_json(needs)),
        'nodes': [asdict(node) | {'needed_mb': node.needed_mb} for node in nodes],
        'traffic': [asdict(node) for node in needs.traffic],
        'devices': [
            {
                'device': each.device,
                'nodes': [node.node for node in each.nodes],
                'needed_mb': each.needed_mb,
                'available_mb': each.available_mb,
            }
            for each in needs.devices
        ],
        'warnings': warnings,
    }


def _items_json(needs: Footprint) -> dict[str, Any]:
    return {
        'items': asdict(needs.counts) | {'all': needs.counts.items},
        'items_per_epoch': needs.items_per_epoch,
        'layers': [_layer_json(each) for each in needs.layers],
    }


def _chapters_json(needs: ChapterFootprint) -> dict[str, Any]:
    travels = zip(needs.shapes, needs.part_bytes, needs.learned_bytes, strict=True)
    return {
        'chapters': needs.chapters,
        'epochs_each': needs.epochs_each,
        'parts': needs.parts,
        'layers': [
            _shape_json(shape) | {'part_bytes': part, 'learned_bytes': learned}
            for shape, part, learned in travels
        ],
    }


def _schedule_json(compared: ScheduleTraffic, mbit: float | None) -> dict[str, Any]:
    tree: dict[str, Any] = {'schedule': compared.schedule, 'chosen': compared.chosen}
    if compared.refused:
        return tree | {'refused': compared.refused}
    busiest = compared.busiest
    seconds = busiest.seconds(mbit) if mbit else None
    return tree | {'bytes': compared.bytes, 'busiest': asdict(busiest), 'link_seconds': seconds}


def _layer_json(layer: LayerFootprint) -> dict[str, Any]:
    return {
        **_shape_json(layer.shape),
        'window_bytes': layer.window_bytes,
        'item_bytes': asdict(layer.item_bytes),
        'hop_bytes': layer.hop_bytes,
        'goodness_bytes': layer.goodness_bytes,
    }


def _shape_json(shape: LayerShape) -> dict[str, Any]:
    return {
        'name': shape.name,
        'inputs': shape.inputs,
        'type': shape.config.type,
        'input_shape': list(shape.input_shape),
        'output_shape': list(shape.passed_shape),
        'units': shape.units,
        'rule': shape.config.rule.model_dump(mode='json'),
        'optimizer': shape.optimizer.model_dump(mode='json'),
        'parameters': shape.parameters,
        'state_bytes': shape.state_bytes,
    }
