# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What ROS 2's own tools see of a run: topics, types, health, parameters."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from dff_command import Dff, settings

pytestmark = pytest.mark.ros

OBSERVER = """
import json, sys, time
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from dff_msgs import msg
from dff_nodes.nodes import qos
from rcl_interfaces.srv import DescribeParameters, ListParameters
rclpy.init()
node = rclpy.create_node('observer')
space, seen = sys.argv[1], {}
def see(name):
    return lambda message: seen.setdefault(name, []).append(message)
for name, kind, profile in (
    ('status', msg.LayerStatus, qos.STATUS), ('metrics', msg.LayerMetrics, qos.METRICS),
    ('config', msg.RunConfig, qos.LATCHED), ('goodness', msg.Goodness, qos.bulk(8)),
    ('layer_1/input', msg.Activations, qos.bulk(8)), ('layer_0/credit', msg.Credit, qos.CREDIT),
):
    node.create_subscription(kind, f'{space}/{name}', see(name), profile)
node.create_subscription(DiagnosticArray, '/diagnostics', see('diagnostics'), qos.METRICS)
def call(kind, name, request):
    client = node.create_client(kind, name)
    assert client.wait_for_service(20), name
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=20)
    return future.result()
limit = time.monotonic() + 60
def with_samples():
    # A mark at the end of an epoch has none.
    return [each for each in seen.get('layer_1/input', []) if len(each.shape)]
def nodes():
    return [f'{s}/{n}' for n, s in node.get_node_names_and_namespaces()]
# What nodes are called arrives apart from what they send.
while time.monotonic() < limit and (
    len(seen) < 7
    or not with_samples()
    or sum(each.startswith(f'{space}/') for each in nodes()) < 3
):
    rclpy.spin_once(node, timeout_sec=0.1)
names = call(ListParameters, f'{space}/layer_1/list_parameters', ListParameters.Request())
described = call(DescribeParameters, f'{space}/layer_1/describe_parameters',
                 DescribeParameters.Request(names=['layer', 'heartbeat_s', 'config', 'run_id']))
activations = with_samples()[0]
print(json.dumps({
    'topics': {n: t[0] for n, t in node.get_topic_names_and_types()},
    'nodes': nodes(),
    'seen': sorted(seen),
    'shape': list(activations.shape),
    'metrics': sorted(seen['metrics'][0].get_fields_and_field_types()),
    'config': json.loads(seen['config'][0].config)['config']['seed'],
    'hardware': seen['diagnostics'][0].status[0].hardware_id,
    'parameters': list(names.result.names),
    'descriptions': [d.description for d in described.descriptors],
    'ranges': [len(d.integer_range) + len(d.floating_point_range)
               for d in described.descriptors],
}))
"""


def test_topics_types_health_and_parameters(dff: Dff) -> None:
    values = settings(network=[{'units': 50}, {'units': 50}], training__epochs=300, seed=4)
    process = dff.start('train', '--json', '--name', 'watched', *values)
    dff.node('layer_1')
    script = dff.folder / 'observer.py'
    script.write_text(OBSERVER)
    observer = subprocess.run(
        [sys.executable, str(script), '/watched'],
        env=dff.environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    process.terminate()
    dff.finish(process)
    assert observer.returncode == 0, observer.stderr
    seen = json.loads(observer.stdout.splitlines()[-1])
    assert seen['topics']['/watched/layer_0/input'] == 'dff_msgs/msg/Activations'
    assert seen['topics']['/watched/layer_1/credit'] == 'dff_msgs/msg/Credit'
    assert seen['topics']['/watched/metrics'] == 'dff_msgs/msg/LayerMetrics'
    assert seen['topics']['/diagnostics'] == 'diagnostic_msgs/msg/DiagnosticArray'
    assert {'/watched/coordinator', '/watched/layer_0', '/watched/layer_1'} <= set(seen['nodes'])
    assert len(seen['seen']) == 7
    assert seen['shape'] == [50]
    assert {'header', 'loss', 'positive_goodness', 'separation'} <= set(seen['metrics'])
    assert seen['config'] == 4
    assert seen['hardware']
    assert {'layer', 'config', 'runs', 'run_id', 'heartbeat_s'} <= set(seen['parameters'])
    assert all(seen['descriptions'])
    assert seen['ranges'][:2] == [1, 1]


def test_a_layer_node_holds_little_more_than_its_layer(dff: Dff) -> None:
    """Parameters, gradient, moments and a checkpoint: at most six times the parameters."""
    values = settings(
        network=[{'units': 2500}, {'units': 2500}],
        training__epochs=1,
        training__batch_size=16,  # so that what is under way is little beside the layer
        training__negatives__mode='adaptive',
    )
    done = dff.run('train', '--json', *values)
    assert done.status == 0, done.errors
    above = done.answer['peak_rss_mb']['layer_1'] - done.answer['base_rss_mb']['layer_1']
    parameters = done.answer['parameter_bytes']['layer_1'] / 1e6
    batches = 60  # under way in the node, in the middleware's histories and in shared memory
    assert parameters > 25
    assert above < 6 * parameters + batches
