# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
SROS2 policy of a run: which node may publish, subscribe and answer what, and nothing else.

`python3 -m dff_nodes.nodes.security_policy CONFIG --namespace /run` prints it for
`ros2 security create_permission`; see doc/security.md.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from dff_nodes.nodes.deployment import absolute_namespace
from dff_nodes.runs.config import Config, layer_names, worker_names
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError

SCHEMA_VERSION = '0.2.0'
EVERY_NODE_PUBLISHES = ('/diagnostics', '/parameter_events', '/rosout')
EVERY_NODE_ANSWERS = (
    'describe_parameters',
    'get_parameter_types',
    'get_parameters',
    'get_type_description',
    'list_parameters',
    'set_parameters',
    'set_parameters_atomically',
)
"""get_type_description: Jazzy and later"""
REPLICA_FROM_LAYER = ('replica', 'restore_credit')
REPLICA_TO_LAYER = ('replica_credit', 'restore')


@dataclass(frozen=True)
class NodePolicy:
    """What one node may do; names are absolute."""

    name: str
    publish: list[str]
    subscribe: list[str]
    reply: list[str]


def node_policies(
    layers: list[str], namespace: str, replicate: bool = False, spares: bool = False
) -> list[NodePolicy]:
    """
    Give the policy of every node, coordinator first.

    A spare device has the enclaves of the layers that it may become, besides its own.

    :param layers: names of the layers, first to last.
    :param replicate: whether checkpoints travel to the coordinator and back.
    :param spares: whether there are spare devices.
    """
    spare = _node('spare', namespace, publish=[], subscribe=['config', 'status'])
    return [
        _coordinator(layers, namespace, replicate),
        *(_layer(layers, index, namespace, replicate) for index in range(len(layers))),
        *([spare] if spares else []),
    ]


def chapter_policies(
    workers: list[str], namespace: str, sends_data: bool = False
) -> list[NodePolicy]:
    """
    Give the policy of every node of a schedule with chapters, coordinator first.

    :param workers: names of the workers, first to last.
    :param sends_data: whether the coordinator sends the training set.
    """
    everyone = ['coordinator', *workers]
    gives = ('part_requests', 'parts') if sends_data else ('part_requests',)
    asked = ['coordinator/part_requests'] if sends_data else []
    coordinator = _node(
        'coordinator',
        namespace,
        publish=['config', *_topics(workers, gives)],
        subscribe=['config', 'coordinator/parts', 'metrics', 'status', *asked],
        reply=('pause',),
    )
    found = [coordinator]
    for me in workers:
        others = [each for each in workers if each != me]
        found.append(
            _node(
                me,
                namespace,
                publish=['metrics', 'status']
                + _topics(others, ('part_requests',))
                + [f'{each}/parts' for each in everyone if each != me]
                + asked,
                subscribe=['config', 'status', f'{me}/part_requests', f'{me}/parts'],
            )
        )
    return found


def policies_of(config: Config, namespace: str) -> list[NodePolicy]:
    """Give the policy of every node of a configuration's run."""
    if config.schedule.chapters:
        sends_data = config.schedule.data == 'sent'
        return chapter_policies(worker_names(config), namespace, sends_data)
    replicate, spares = config.checkpoint.replicate, bool(config.spares)
    return node_policies(layer_names(config), namespace, replicate, spares)


def _coordinator(layers: list[str], namespace: str, replicate: bool) -> NodePolicy:
    gives = ('goodness_credit', *(REPLICA_TO_LAYER if replicate else ()))
    takes = REPLICA_FROM_LAYER if replicate else ()
    return _node(
        'coordinator',
        namespace,
        publish=['config', f'{layers[0]}/input', *_topics(layers, gives)],
        subscribe=[
            'config',
            f'{layers[0]}/credit',
            'goodness',
            'metrics',
            'status',
            *_topics(layers, takes),
        ],
        reply=('pause',),
    )


def _topics(layers: list[str], names: tuple[str, ...]) -> list[str]:
    return [f'{layer}/{name}' for layer in layers for name in names]


def _layer(layers: list[str], index: int, namespace: str, replicate: bool) -> NodePolicy:
    me, behind = layers[index], layers[index + 1 : index + 2]
    gives = REPLICA_FROM_LAYER if replicate else ()
    takes = REPLICA_TO_LAYER if replicate else ()
    return _node(
        me,
        namespace,
        publish=[f'{me}/credit', 'goodness', 'metrics', 'status']
        + [f'{each}/input' for each in behind]
        + _topics([me], gives),
        subscribe=['config', f'{me}/goodness_credit', f'{me}/input', 'status']
        + [f'{each}/credit' for each in behind]
        + _topics([me], takes),
    )


def _node(
    name: str, namespace: str, publish: list[str], subscribe: list[str], reply: tuple = ()
) -> NodePolicy:
    """Add what every node does, and make all names absolute."""
    return NodePolicy(
        name,
        sorted([*EVERY_NODE_PUBLISHES, *(f'{namespace}/{each}' for each in publish)]),
        sorted(f'{namespace}/{each}' for each in subscribe),
        sorted(f'{namespace}/{name}/{each}' for each in (*EVERY_NODE_ANSWERS, *reply)),
    )


def policy_xml(policies: list[NodePolicy], namespace: str) -> str:
    """Write policies as XML, one enclave for each node, named after it."""
    policy = ElementTree.Element('policy', version=SCHEMA_VERSION)
    enclaves = ElementTree.SubElement(policy, 'enclaves')
    for node in policies:
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=f'{namespace}/{node.name}')
        profiles = ElementTree.SubElement(enclave, 'profiles')
        profile = ElementTree.SubElement(profiles, 'profile', ns=namespace, node=node.name)
        for kind, action, names in (
            ('topic', 'publish', node.publish),
            ('topic', 'subscribe', node.subscribe),
            ('service', 'reply', node.reply),
        ):
            group = ElementTree.SubElement(profile, f'{kind}s', {action: 'ALLOW'})
            for name in names:
                ElementTree.SubElement(group, kind).text = name
    ElementTree.indent(policy)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(policy, "unicode")}\n'


def main(arguments: list[str] | None = None) -> int:
    """Print the policy of a configuration."""
    parser = argparse.ArgumentParser(description='Print the SROS2 policy of a run.')
    parser.add_argument('config', help='configuration file')
    parser.add_argument('--namespace', default='', help="the file's name when left out")
    options = parser.parse_args(arguments)
    try:
        namespace = absolute_namespace(options.namespace or Path(options.config).stem)
        config = load_config(options.config)
        print(policy_xml(policies_of(config, namespace), namespace), end='')
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
