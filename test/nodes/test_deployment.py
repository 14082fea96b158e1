# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a device starts, found without starting anything."""

from __future__ import annotations

import json
import socket
import sys

import pytest
import yaml

from dff_nodes.data.facts import DataError
from dff_nodes.nodes import deployment
from dff_nodes.nodes.deployment import NodeSpec, cluster_nodes, deploy, deployed_nodes, this_host
from dff_nodes.runs.config_file import check_config, load_config
from dff_nodes.runs.errors import ConfigError

PLACEMENT = {'pi1': ['coordinator', 'layer_0'], 'pi2': ['layer_1']}
TREE = {'network': [{'units': 8}, {'units': 8}], 'placement': PLACEMENT}


@pytest.fixture
def config_file(tmp_path):
    """Write a configuration file and give its path."""

    def write(name='cluster.yaml', **tree):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(TREE | tree))
        return str(path)

    return write


def names(nodes):
    return [spec.name for spec in nodes]


@pytest.mark.parametrize('host', PLACEMENT)
def test_a_device_starts_what_the_placement_gives_it(host):
    nodes = deployed_nodes(check_config(TREE, 'test'), {}, {}, host)
    assert names(nodes) == PLACEMENT[host]


def test_all_devices_together_start_every_node_once():
    config = check_config(TREE, 'test')
    parts = [deployed_nodes(config, {}, {}, host) for host in config.placement]
    assert sum(parts, []) == deployed_nodes(config, {}, {}, None)


def test_without_placement_one_device_starts_all():
    config = check_config({'network': TREE['network']}, 'test')
    assert names(deployed_nodes(config, {}, {})) == ['coordinator', 'layer_0', 'layer_1']
    assert this_host(config, '') is None


def test_a_device_without_a_name_has_that_of_its_machine():
    assert this_host(check_config(TREE, 'test'), '') == socket.gethostname()
    assert this_host(check_config(TREE, 'test'), 'pi2') == 'pi2'


def test_each_node_gets_its_parameters(config_file, tmp_path):
    path = config_file(stream={'heartbeat_s': 2.5})
    coordinator, first, second = cluster_nodes(load_config(path), path, 'night', str(tmp_path))
    common = {'runs': str(tmp_path), 'config': path}
    assert coordinator.executable == 'coordinator_node'
    assert coordinator.parameters == common | {'run': 'night', 'task': 'train'}
    assert first.executable == 'layer_node'
    assert first.parameters == common | {'heartbeat_s': 2.5, 'appear_s': 60.0, 'layer': 0}
    assert second.parameters == common | {'heartbeat_s': 2.5, 'appear_s': 60.0, 'layer': 1}


def test_paths_do_not_depend_on_the_folder_that_a_node_starts_in(
    config_file, tmp_path, monkeypatch
):
    config_file('here.yaml')
    monkeypatch.chdir(tmp_path)
    layer = deploy('here.yaml', host='pi2').nodes[0]
    assert layer.parameters['config'] == str(tmp_path / 'here.yaml')
    assert layer.parameters['runs'] == str(tmp_path / 'runs')


def test_the_command_of_a_node():
    spec = NodeSpec('layer_1', 'layer_node', {'layer': 1, 'run': 'on'})
    assert spec.command('/a/b', 'warn') == [
        sys.executable, '-m', 'dff_nodes.nodes.layer_node', '--ros-args',
        '-r', '__ns:=/a/b', '-r', '__node:=layer_1',
        '--log-level', 'a.b.layer_1:=warn', '--log-level', 'layer_1:=warn',
        '-p', 'layer:=1', '-p', 'run:="on"',
    ]  # fmt: skip


@pytest.mark.parametrize('text', ['on', 'null', '1e3', '', 'a b', '{}', 'it\'s "so"'])
def test_a_text_stays_a_text(text):
    command = NodeSpec('layer_0', 'layer_node', {'run': text}).command('/run')
    assert yaml.safe_load(command[-1].removeprefix('run:=')) == text


def test_run_and_namespace_come_from_the_file_or_from_the_arguments(config_file, tmp_path):
    path = config_file('night.yaml')
    deployments = [
        deploy(path, host='pi1'),
        deploy(path, run='first', host='pi1'),
        deploy(path, run='first', namespace='lab/night', host='pi1'),
    ]
    assert [each.namespace for each in deployments] == ['/night', '/first', '/lab/night']
    assert [each.nodes[0].parameters['run'] for each in deployments] == ['night', 'first', 'first']


def test_each_device_computes_with_the_threads_of_the_configuration(config_file):
    deployment = deploy(config_file(compute={'threads': 3}), host='pi2')
    assert deployment.environment['OMP_NUM_THREADS'] == '3'


def test_sending_holds_no_training_up_between_devices(config_file, monkeypatch):
    mode = 'RMW_FASTRTPS_PUBLICATION_MODE'
    monkeypatch.delenv(mode, raising=False)
    assert deploy(config_file(), host='pi1').environment[mode] == 'ASYNCHRONOUS'
    assert mode not in deploy(config_file(placement={})).environment
    monkeypatch.setenv(mode, 'SYNCHRONOUS')
    assert mode not in deploy(config_file(), host='pi1').environment


@pytest.mark.parametrize(
    ('arguments', 'tree', 'message'),
    [
        ({'host': 'pi9'}, {}, "placement has no device 'pi9', it has pi1, pi2"),
        ({'host': 'pi1'}, {'placement': {}}, 'has no placement'),
        ({'host': 'pi1', 'run': 'a-b'}, {}, "try 'a_b'"),
        ({'host': 'pi1', 'namespace': '1st'}, {}, "got '1st'"),
        ({'host': 'pi1'}, {'trainin': {}}, "did you mean 'training'?"),
        ({'host': 'pi1'}, {'training': {'batch_size': 5000}}, 'training.batch_size'),
        (
            {'host': 'pi1'},
            {'placement': PLACEMENT | {'pi2': {'nodes': ['layer_1'], 'memory_mb': 9}}},
            'pi2',
        ),
    ],
)
def test_a_wrong_request_is_explained(config_file, arguments, tree, message):
    with pytest.raises(ConfigError) as error:
        deploy(config_file(**tree), **arguments)
    assert message in str(error.value)


def test_data_that_is_not_there_is_found_where_it_is_needed(config_file):
    path = config_file(data={'dataset': 'not_there.npz'})
    with pytest.raises(DataError):
        deploy(path, host='pi1')
    assert names(deploy(path, host='pi2').nodes) == ['layer_1']


def test_a_finished_run_is_not_started_again(config_file, tmp_path):
    (tmp_path / 'done').mkdir()
    (tmp_path / 'done' / 'result.json').write_text('{}')
    with pytest.raises(ConfigError, match='has finished'):
        deploy(config_file(), run='done', runs=str(tmp_path), host='pi1')
    # A layer's device has no result; its node waits for what the coordinator says.
    assert deploy(config_file(), run='done', runs=str(tmp_path), host='pi2')


def test_the_launch_file_is_answered_in_json(config_file, capsys):
    request = {'config': config_file(), 'host': 'pi2', 'log_level': 'debug'}
    assert deployment.main([json.dumps(request)]) == 0
    answer = json.loads(capsys.readouterr().out)
    (node,) = answer['nodes']
    assert node['name'] == 'layer_1'
    assert node['command'] == deploy(request['config'], host='pi2').nodes[0].command(
        '/cluster', 'debug'
    )


def test_the_launch_file_is_told_what_is_wrong(config_file, capsys):
    assert deployment.main([json.dumps({'config': config_file(), 'host': 'pi9'})]) == 2
    printed = capsys.readouterr()
    assert printed.out == ''
    assert printed.err.startswith("placement has no device 'pi9'")
    assert len(printed.err.splitlines()) == 1


def test_a_schedule_with_chapters_has_workers_while_it_trains() -> None:
    config = load_config(None, ['schedule={name: all_layers, workers: 2}'])
    nodes = deployed_nodes(config, {}, {'task': 'train'})
    assert [node.name for node in nodes] == ['coordinator', 'worker_0', 'worker_1']
    assert [node.executable for node in nodes] == [
        'chapter_coordinator_node',
        'worker_node',
        'worker_node',
    ]
    assert nodes[2].parameters['worker'] == 1
    evaluating = deployed_nodes(config, {}, {'task': 'evaluate'})
    assert [node.name for node in evaluating] == [
        'coordinator',
        'layer_0',
        'layer_1',
        'layer_2',
    ]


def test_a_placement_of_a_schedule_with_chapters_names_workers() -> None:
    placement = 'placement={desk: [coordinator], a: [worker_0], b: [worker_1]}'
    schedule = 'schedule={name: all_layers, workers: 2}'
    config = load_config(None, [schedule, placement])
    (node,) = deployed_nodes(config, {}, {}, host='b')
    assert node.name == 'worker_1'
    with pytest.raises(ConfigError, match="placement names the node 'layer_0'"):
        load_config(None, [schedule, 'placement={desk: [coordinator], a: [layer_0, worker_0]}'])
