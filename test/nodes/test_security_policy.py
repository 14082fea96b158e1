# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy allows what the nodes do, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from dff_command import Dff, settings

pytest.importorskip('rclpy')

from dff_nodes.nodes.security_policy import (  # noqa: E402
    chapter_policies,
    main,
    node_policies,
    policy_xml,
)

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ['layer_0', 'layer_1', 'layer_2']
OBSERVER = """
import json, sys, time
import rclpy
rclpy.init()
node = rclpy.create_node('observer')
space, sign, names = sys.argv[1], sys.argv[2], sys.argv[3:]
looks = {
    'publish': node.get_publisher_names_and_types_by_node,
    'subscribe': node.get_subscriber_names_and_types_by_node,
    'reply': node.get_service_names_and_types_by_node,
}
def look():
    return {
        name: {what: sorted(topic for topic, _ in of(name, space)) for what, of in looks.items()}
        for name in names
    }
limit = time.monotonic() + 60
seen, same = {}, 0
while time.monotonic() < limit:
    try:
        before, seen = seen, look()
    except rclpy.node.NodeNameNonExistentError:
        seen = {}
    whole = seen and all(f'{space}/{sign}' in seen[name]['publish'] for name in names[1:])
    # A node makes its endpoints one after the other.
    same = same + 1 if whole and before == seen else 0
    if same == 3:
        break
    time.sleep(1.0)
print(json.dumps(seen))
"""


def test_the_committed_policy_is_that_of_the_cluster(capsys: pytest.CaptureFixture) -> None:
    assert main([str(ROOT / 'config/cluster.yaml')]) == 0
    committed = (ROOT / 'config/sros2/policy.xml').read_text(encoding='utf-8')
    assert capsys.readouterr().out == committed


def test_the_policy_has_an_enclave_for_each_node() -> None:
    root = ElementTree.fromstring(policy_xml(node_policies(LAYERS, '/run'), '/run').encode())
    paths = [enclave.get('path') for enclave in root.iter('enclave')]
    assert paths == ['/run/coordinator', '/run/layer_0', '/run/layer_1', '/run/layer_2']
    allowed = {tuple(each.attrib.items()) for each in root.iter('topics')}
    assert allowed == {(('publish', 'ALLOW'),), (('subscribe', 'ALLOW'),)}


def test_a_wrong_request_is_named(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main([str(ROOT / 'config/cluster.yaml'), '--namespace', '/1run']) == 2
    assert '1run' in capsys.readouterr().err


def test_a_spare_has_an_enclave_too() -> None:
    names = [policy.name for policy in node_policies(LAYERS, '/run', True, spares=True)]
    assert names == ['coordinator', *LAYERS, 'spare']


def observed(dff: Dff, names: list[str], values: list[str], sign: str) -> dict[str, dict]:
    """Start a run and give what each of its nodes has; the sign is a topic that the last have."""
    process = dff.start('train', '--json', '--name', 'watched', *values)
    dff.node(names[-1])
    done = subprocess.run(
        [sys.executable, '-c', OBSERVER, '/watched', sign, 'coordinator', *names],
        env=dff.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    process.terminate()
    dff.finish(process)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_allowed(seen: dict[str, dict], policies: list) -> None:
    for policy in policies:
        found = seen[policy.name]
        assert found['publish'] == policy.publish
        assert found['subscribe'] == policy.subscribe
        # Humble has no get_type_description.
        missing = set(policy.reply) - set(found['reply'])
        assert set(found['reply']) <= set(policy.reply)
        assert missing <= {f'/watched/{policy.name}/get_type_description'}


@pytest.mark.ros
@pytest.mark.parametrize('replicate', [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_policy_allows_what_the_nodes_do(dff: Dff, replicate: bool) -> None:
    values = settings(
        network=[{'units': 20}] * 3, training__epochs=2000, checkpoint__replicate=replicate
    )
    seen = observed(dff, LAYERS, values, 'goodness')
    assert_allowed(seen, node_policies(LAYERS, '/watched', replicate))


@pytest.mark.ros
def test_the_policy_allows_what_workers_do(dff: Dff) -> None:
    workers = ['worker_0', 'worker_1']
    values = settings(network=[{'units': 20}] * 2, training__epochs=2000, schedule='single_layer')
    seen = observed(dff, workers, values, 'coordinator/parts')
    assert_allowed(seen, chapter_policies(workers, '/watched'))
