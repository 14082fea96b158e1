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

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import ConfigError, load_config
from dff_nodes.runs.explain import Setting, explain_settings
from dff_nodes.runs.footprint import (
    DeviceMemory,
    Footprint,
    LayerFootprint,
    check_memory,
    footprint,
    memory_here_mb,
    memory_warnings,
)
from dff_nodes.runs.resolve import ResolvedRun, resolve


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


def run(arguments: argparse.Namespace) -> int:
    """Check, print and return 0; raises ConfigError or DataError for what does not fit."""
    from dff_nodes.cli import check_tables, tables  # deferred: imports rich

    config = load_config(arguments.config, arguments.set)
    _check_host(config, arguments.host)
    resolved = resolve(config, read_facts(config.data))
    needs = footprint(resolved)
    check_memory(needs.devices)
    settings = explain_settings() if arguments.explain else []
    console = tables.make_console(sys.stderr if arguments.json else sys.stdout)
    warnings = memory_warnings(needs.devices) + _warnings_here(needs)
    check_tables.show(resolved, needs, arguments.host, console)
    if settings:
        check_tables.show_settings(settings, console)
    for warning in warnings:
        console.print(f'warning: {warning}', style='yellow', markup=False, highlight=False)
    if arguments.json:
        print(json.dumps(as_json(resolved, needs, arguments.host, settings, warnings)))
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


def _warnings_here(needs: Footprint) -> list[str]:
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


def as_json(
    resolved: ResolvedRun,
    needs: Footprint,
    host: str | None,
    settings: list[Setting],
    warnings: list[str],
) -> dict[str, Any]:
    """Give all that the verb prints."""
    shown = needs.nodes_of(host)
    tree = {
        'config': resolved.config.model_dump(mode='json'),
        'config_hash': resolved.hash,
        'data': resolved.facts.as_dict(),
        'items': asdict(needs.counts) | {'all': needs.counts.items},
        'items_per_epoch': needs.items_per_epoch,
        'layers': [_layer_json(each) for each in needs.layers],
        'nodes': [asdict(node) | {'needed_mb': node.needed_mb} for node in shown],
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
    return tree | {'settings': [asdict(each) for each in settings]} if settings else tree


def _layer_json(layer: LayerFootprint) -> dict[str, Any]:
    return {
        'name': layer.shape.name,
        'inputs': layer.shape.inputs,
        'type': layer.shape.config.type,
        'input_shape': list(layer.shape.input_shape),
        'output_shape': list(layer.shape.passed_shape),
        'units': layer.shape.units,
        'rule': layer.shape.config.rule.model_dump(mode='json'),
        'optimizer': layer.shape.optimizer.model_dump(mode='json'),
        'parameters': layer.shape.parameters,
        'state_bytes': layer.shape.state_bytes,
        'window_bytes': layer.window_bytes,
        'item_bytes': asdict(layer.item_bytes),
        'hop_bytes': layer.hop_bytes,
        'goodness_bytes': layer.goodness_bytes,
    }
