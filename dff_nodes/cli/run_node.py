# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Run a single node of a configuration on this device, for example layer_2."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dff_nodes.nodes.deployment import cluster_nodes, spare_node
from dff_nodes.nodes.middleware import over_a_network
from dff_nodes.runs.config import SPARE
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.run_folder import check_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('node', help='coordinator, layer_0, layer_1, ..., or spare')
    parser.add_argument('config', help='the configuration file, the same on every device')
    parser.add_argument(
        '--run', help='name of the run and its namespace; default: that of the configuration file'
    )
    parser.add_argument('--runs', default='runs', help='folder of the run folders (runs)')
    parser.add_argument(
        '--log-level',
        default='info',
        choices=['debug', 'info', 'warn', 'error'],
        help='of the node',
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the node: this process is replaced, so signals and exit status are the node's."""
    config = load_config(arguments.config)
    name = check_name(arguments.run or Path(arguments.config).stem)
    nodes = cluster_nodes(config, arguments.config, name, arguments.runs)
    specs = {spec.name: spec for spec in nodes}
    if arguments.node == SPARE:
        if not config.spares:
            raise ConfigError(
                f'{arguments.config} has no placement.spare, and without it a spare node takes '
                'nothing over: name this device there, as spare: [NAME]'
            )
        layer = next(spec for spec in nodes if spec.name == 'layer_0')
        parameters = {key: value for key, value in layer.parameters.items() if key != 'layer'}
        specs[SPARE] = spare_node(config, parameters)
    if arguments.node not in specs:
        raise ConfigError(
            f'{arguments.config} has no node {arguments.node!r}, it has {", ".join(specs)}'
        )
    os.environ.update(over_a_network(os.environ, len(config.devices)))
    command = specs[arguments.node].command(f'/{name}', arguments.log_level)
    os.execv(command[0], command)
