# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Which nodes a device runs, and with which parameters: for dff, launch and the tests alike.

`python3 -m dff_nodes.nodes.deployment '{"config": FILE, "host": NAME}'` prints it as JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dff_nodes.data.facts import DataError, read_facts
from dff_nodes.nodes.middleware import large_message_profile, over_a_network
from dff_nodes.runs.config import SPARE, Config, layer_names, worker_names
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.footprint import check_memory
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, check_name
from dff_nodes.schedules.needs import run_needs

NAMESPACE = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')


@dataclass(frozen=True)
class NodeSpec:
    """One node to start."""

    name: str
    """coordinator, layer_0 or worker_0, ..."""
    executable: str
    """module of nodes/"""
    parameters: dict[str, Any] = field(default_factory=dict)

    def command(self, namespace: str, log_level: str = 'info') -> list[str]:
        """Give the command that starts the node with this interpreter."""
        # A node's logger is named after its namespace too: run.layer_0.
        logger = f'{namespace}/{self.name}'.strip('/').replace('/', '.')
        command = [sys.executable, '-m', f'dff_nodes.nodes.{self.executable}', '--ros-args']
        command += ['-r', f'__ns:={namespace}', '-r', f'__node:={self.name}']
        for name in dict.fromkeys([logger, self.name]):
            command += ['--log-level', f'{name}:={log_level}']
        for key, value in self.parameters.items():
            # JSON is YAML: quotes keep a run named `on` a text.
            command += ['-p', f'{key}:={json.dumps(value)}']
        return command


def deployed_nodes(
    config: Config,
    common: dict[str, Any],
    coordinator: dict[str, Any],
    host: str | None = None,
) -> list[NodeSpec]:
    """
    Give the nodes that a device runs, coordinator first.

    :param common: parameters of every node.
    :param coordinator: more parameters of the coordinator.
    :param host: name of the device in `placement`; None for all nodes.
    :raises ConfigError: if the device is not in `placement`.
    """
    times = {'heartbeat_s': config.stream.heartbeat_s, 'appear_s': config.stream.appear_s}
    specs = _all_nodes(config, {**common, **times}, {**common, **coordinator})
    if host is None or not config.placement:
        return specs
    known = [*config.devices, *config.spares]
    if host not in known:
        raise ConfigError(
            f'placement has no device {host!r}, it has {", ".join(known)}: '
            'give the device a name from there (host:=NAME), or add it to placement'
        )
    nodes = config.devices[host].nodes if host in config.devices else []
    here = [spec for spec in specs if spec.name in nodes]
    if host in config.spares:
        rank = config.spares.index(host)
        here.append(spare_node(config, {**common, **times}, rank))
    return here


def _all_nodes(
    config: Config, common: dict[str, Any], coordinator: dict[str, Any]
) -> list[NodeSpec]:
    """Give all nodes of a run: its workers, or the layers that evaluate what those trained."""
    training = coordinator.get('task', 'train') == 'train'
    if config.schedule.chapters and training:
        kind, names, first = 'worker', worker_names(config), 'chapter_coordinator_node'
    else:
        kind, names, first = 'layer', layer_names(config), 'coordinator_node'
    return [
        NodeSpec('coordinator', first, coordinator),
        *(
            NodeSpec(name, f'{kind}_node', {**common, kind: index})
            for index, name in enumerate(names)
        ),
    ]


def spare_node(config: Config, parameters: dict[str, Any], rank: int = 0) -> NodeSpec:
    """
    Give the node of a device that takes over a layer which is lost.

    :param parameters: those that the layer's node would have.
    :param rank: place among the spare devices; later ones wait longer.
    """
    own = {'lease_s': config.restart.lease_s, 'rank': rank, 'layers': len(config.network)}
    return NodeSpec(SPARE, 'spare_node', {**parameters, **own})


def this_host(config: Config, host: str) -> str | None:
    """Give the device to deploy: the one named, else the one with this machine's name."""
    return host or (socket.gethostname() if config.placement else None)


def cluster_nodes(
    config: Config, path: str, run: str, runs: str, host: str | None = None
) -> list[NodeSpec]:
    """
    Give the nodes of a device that take their configuration from the same file on every device.

    :param path: the configuration's file; each layer compares it with the coordinator's.
    :param run: name of the run.
    :param host: name of the device in `placement`; None for all nodes.
    :raises ConfigError: if the device is not in `placement`.
    """
    common = {'runs': str(Path(runs).resolve()), 'config': str(Path(path).resolve())}
    return deployed_nodes(config, common, {'run': run, 'task': 'train'}, host)


@dataclass(frozen=True)
class Deployment:
    """What a device starts for a run."""

    namespace: str
    nodes: list[NodeSpec]
    environment: dict[str, str]
    """what the nodes' environment has beside that of their starter"""

    def as_dict(self, log_level: str) -> dict[str, Any]:
        """Give it as JSON can hold it, for the launch file."""
        nodes = [
            {'name': spec.name, 'command': spec.command(self.namespace, log_level)}
            for spec in self.nodes
        ]
        return {'nodes': nodes, 'environment': self.environment}


def deploy(
    config: str, run: str = '', runs: str = 'runs', namespace: str = '', host: str = ''
) -> Deployment:
    """
    Read a configuration file and give what this device starts for it.

    :param config: the file.
    :param run: name of the run; empty for that of the file.
    :param namespace: of the nodes; empty for the name of the run.
    :param host: name of the device in `placement`; empty for this machine's own.
    :raises ConfigError, DataError: naming what is wrong.
    """
    loaded = load_config(config)
    if host and not loaded.placement:
        raise ConfigError(
            f'{config} has no placement, so every device would start all nodes: add one that '
            f'names {host!r}, or leave host:= out'
        )
    name = check_name(run or Path(config).stem)
    nodes = cluster_nodes(loaded, config, name, runs, this_host(loaded, host))
    if nodes[0].name == 'coordinator':
        _check_run(loaded, RunFolder(Path(runs) / name))
    threads = {'OMP_NUM_THREADS': str(loaded.compute.threads)}
    environment = threads | large_message_profile(os.environ, len(nodes))
    environment |= over_a_network(os.environ, len(loaded.devices))
    return Deployment(absolute_namespace(namespace or name), nodes, environment)


def _check_run(config: Config, folder: RunFolder) -> None:
    """
    Find what would end the coordinator at once, before a layer is started that would only wait.

    On the coordinator's device only, because the others need not have the data.
    """
    check_memory(run_needs(resolve(config, read_facts(config.data))).devices)
    folder.check_not_over()


def absolute_namespace(namespace: str) -> str:
    """Give a namespace from the root on; raises ConfigError if it cannot be one."""
    absolute = '/' + namespace.strip('/')
    if not NAMESPACE.fullmatch(absolute):
        raise ConfigError(
            'a namespace is made of letters, digits, _ and /, and no part begins with a digit, '
            f'got {namespace!r}'
        )
    return absolute


def main(arguments: list[str] | None = None) -> int:
    """
    Print what this device starts, for the launch file.

    `ros2 launch` runs in the system's Python, which need not have what dff_nodes imports.
    """
    request = json.loads((sys.argv[1:] if arguments is None else arguments)[0])
    log_level = request.pop('log_level', 'info')
    try:
        print(json.dumps(deploy(**request).as_dict(log_level)))
    except (ConfigError, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
