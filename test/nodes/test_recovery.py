# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Whatever dies, hangs or is lost, and whenever: the result is that of the reference."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from dff_command import Dff, Finished, settings

from dff_nodes.nodes.deployment import NodeSpec
from dff_nodes.nodes.shared_memory import SHARED_MEMORY, left_overs
from dff_nodes.runs.fault_points import VARIABLE, FaultPoint

pytestmark = pytest.mark.ros

RUN = settings(
    network=[{'units': 60}, {'units': 50}, {'units': 40}],
    training__epochs=8,
    training__negatives__mode='adaptive',
    training__negatives__lag_batches=2,
    evaluation__every_epochs=3,
    checkpoint__every_items=60,
    restart__backoff_s=0,
)
NODES = ('coordinator', 'layer_0', 'layer_1', 'layer_2')


@pytest.fixture(scope='module')
def expected(tmp_path_factory: pytest.TempPathFactory, ros_environment: dict[str, str]) -> Any:
    """Give the answer of the reference, which all runs here must reach."""
    dff = Dff(tmp_path_factory.mktemp('reference'), ros_environment)
    done = dff.run('train', '--json', '--reference', '--name', 'right', *RUN)
    assert done.status == 0, done.errors
    return done.answer


def assert_same(done: Finished, expected: dict[str, Any]) -> None:
    """Every item was trained exactly once by every layer, and the rest follows."""
    assert done.status == 0, done.errors
    for key in ('applied_items_sha256', 'weights_sha256', 'history', 'items', 'test_accuracy'):
        assert done.answer[key] == expected[key], key


def await_item(dff: Dff, name: str, item: int) -> None:
    """Wait until the layers have saved behind an item."""
    folder = dff.folder / 'runs' / name / 'checkpoints'
    limit = time.monotonic() + 90
    while not any(_item(path) >= item for path in folder.glob('layer_*.ckpt')):
        assert time.monotonic() < limit, f'no checkpoint behind item {item} within 90 s'
        time.sleep(0.02)


def _item(path: Path) -> int:
    return int(path.stem.rpartition('-')[2])


# ---- one fault at each point -----------------------------------------------------------------

FAULTS = {
    FaultPoint.BEFORE_TRAIN: 'layer_1 BEFORE_TRAIN 200',
    FaultPoint.AFTER_TRAIN: 'layer_0 AFTER_TRAIN 230',
    FaultPoint.AFTER_SCORES: 'layer_1 AFTER_SCORES 90',
    FaultPoint.AFTER_PUBLISH: 'layer_1 AFTER_PUBLISH 211',
    FaultPoint.BEFORE_CREDIT: 'layer_2 BEFORE_CREDIT 60',
    FaultPoint.AFTER_CREDIT: 'layer_1 AFTER_CREDIT 60',
    FaultPoint.IN_CHECKPOINT: 'layer_1 IN_CHECKPOINT 3',
    FaultPoint.BEFORE_RENAME: 'layer_2 BEFORE_RENAME 3',
    FaultPoint.AFTER_RENAME: 'layer_0 AFTER_RENAME 3',
    # An incarnation that has something to restore is not the first, so its peer falls instead.
    FaultPoint.IN_REPLAY: 'layer_2 AFTER_TRAIN 230; layer_1 IN_REPLAY 2',
    FaultPoint.IN_REPLICATION: 'layer_1 IN_REPLICATION 2',
    FaultPoint.AFTER_EMIT: 'coordinator AFTER_EMIT 260',
    FaultPoint.BEFORE_JOURNAL: 'coordinator BEFORE_JOURNAL 120',
    FaultPoint.AFTER_JOURNAL: 'coordinator AFTER_JOURNAL 121',
    FaultPoint.BEFORE_RESULT: 'coordinator BEFORE_RESULT 1',
    FaultPoint.AFTER_RESULT: 'coordinator AFTER_RESULT 1',
    FaultPoint.IN_RESTORE: 'layer_0 IN_RESTORE 1',
}


TOGETHER = (
    (FaultPoint.BEFORE_TRAIN, FaultPoint.AFTER_EMIT),
    (FaultPoint.AFTER_TRAIN, FaultPoint.BEFORE_CREDIT),
    (FaultPoint.AFTER_SCORES, FaultPoint.AFTER_JOURNAL),
    (FaultPoint.AFTER_PUBLISH, FaultPoint.BEFORE_RESULT),
    (FaultPoint.AFTER_CREDIT, FaultPoint.BEFORE_JOURNAL),
    (FaultPoint.IN_CHECKPOINT, FaultPoint.BEFORE_RENAME),
    (FaultPoint.AFTER_RENAME, FaultPoint.AFTER_RESULT),
    (FaultPoint.IN_RESTORE, FaultPoint.IN_REPLICATION),
    (FaultPoint.IN_REPLAY,),
)
"""points of different nodes, so that one run has a fault at each"""


def assert_survives(dff: Dff, expected: Any, points: tuple[FaultPoint, ...]) -> None:
    faults = '; '.join(FAULTS[point] for point in points)
    hurt = Dff(dff.folder, dff.environment | {VARIABLE: faults})
    replicate = settings(checkpoint__replicate='REPLICATION' in faults)
    done = hurt.run('train', '--json', '--name', 'hurt', *RUN, *replicate)
    assert_same(done, expected)
    for fault in faults.split(';'):
        node = fault.split()[0]
        assert f'{node} was ended by SIGKILL' in done.errors or 'AFTER_RESULT' in fault
    left = list((dff.folder / 'runs/hurt/checkpoints').glob('.*.part'))
    assert left == []


def test_every_point_has_its_fault() -> None:
    assert {point for points in TOGETHER for point in points} == set(FAULTS)


@pytest.mark.parametrize(
    'points',
    [
        pytest.param(
            points,
            id=' and '.join(point.name for point in points),
            # One of checkpoints and one of coming back; a test below kills while items flow.
            marks=[] if number in (5, 7) else [pytest.mark.slow],
        )
        for number, points in enumerate(TOGETHER)
    ],
)
def test_nodes_may_die_between_any_two_steps(dff: Dff, expected: Any, points: tuple) -> None:
    assert_survives(dff, expected, points)


@pytest.mark.slow
@pytest.mark.parametrize('point', FAULTS, ids=lambda point: point.name)
def test_a_node_may_die_alone(dff: Dff, expected: Any, point: FaultPoint) -> None:
    assert_survives(dff, expected, (point,))


# ---- whole processes -------------------------------------------------------------------------


def segments_of(node: psutil.Process) -> set[Path]:
    """Give the shared memory that a node has open, its own and that of its peers."""
    paths = {Path(each.path) for each in node.memory_maps()}
    return {path for path in paths if path.parent == SHARED_MEMORY}


def test_each_node_may_be_killed_in_one_run(dff: Dff, expected: Any) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    segments: set[Path] = set()
    for index, name in enumerate(NODES):
        await_item(dff, 'hurt', 60 + 60 * index)
        node = dff.node(name)
        segments |= segments_of(node)
        node.kill()
    done = dff.finish(process)
    assert_same(done, expected)
    for name in NODES:
        assert done.answer['restarts'][name] >= 1
    assert segments and segments.isdisjoint(left_overs())


@pytest.mark.slow
def test_a_graph_layer_that_is_killed_comes_back_to_the_same_bits(
    dff: Dff, save_graph: Callable[..., Path]
) -> None:
    few = settings(
        data__dataset=str(save_graph()),
        network='graph',
        training__epochs=150,
        evaluation__every_epochs=50,
        checkpoint__every_items=30,
        restart__backoff_s=0,
    )
    expected = dff.run('train', '--json', '--reference', '--name', 'right', *few)
    process = dff.start('train', '--json', '--name', 'hurt', *few)
    await_item(dff, 'hurt', 60)
    dff.node('layer_1').kill()
    done = dff.finish(process)
    assert_same(done, expected.answer)
    assert done.answer['restarts']['layer_1'] >= 1


def kill_all(dff: Dff, process: subprocess.Popen) -> None:
    """End the command and all nodes at once, as when the power goes."""
    nodes = dff.nodes()
    process.kill()
    for node in nodes:
        try:
            node.kill()
        except psutil.NoSuchProcess:
            continue
    process.communicate()
    dff.await_gone()


def newest(dff: Dff, layer: int) -> Path:
    """Give the newest checkpoint of a layer of the run `hurt`."""
    return max((dff.folder / 'runs/hurt/checkpoints').glob(f'layer_{layer}-*.ckpt'), key=_item)


def nothing_else(dff: Dff) -> None:
    """Change nothing."""


def truncate_a_checkpoint(dff: Dff) -> None:
    path = newest(dff, 1)
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(dff: Dff) -> None:
    path = newest(dff, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def put_a_foreign_checkpoint(dff: Dff) -> None:
    path = newest(dff, 0)
    shutil.copy(newest(dff, 1), path)


def lose_all_of_a_layer(dff: Dff) -> None:
    for path in (dff.folder / 'runs/hurt/checkpoints').glob('layer_1*'):
        path.unlink()


def tear_the_journal(dff: Dff) -> None:
    path = dff.folder / 'runs/hurt/journal'
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_the_journal(dff: Dff) -> None:
    (dff.folder / 'runs/hurt/journal').unlink()


DAMAGE = {
    nothing_else: '',
    truncate_a_checkpoint: 'is torn or changed',
    flip_a_bit: 'is torn or changed',
    put_a_foreign_checkpoint: 'has layer 1, 0 is wanted',
    lose_all_of_a_layer: '',
    tear_the_journal: '',
    lose_the_journal: '',
}


ALWAYS = (flip_a_bit,)
"""the others are slow proofs"""


@pytest.mark.parametrize(
    ('damage', 'told'),
    [
        pytest.param(
            damage,
            told,
            id=damage.__name__,
            marks=[] if damage in ALWAYS else [pytest.mark.slow],
        )
        for damage, told in DAMAGE.items()
    ],
)
def test_all_may_be_killed_at_once_and_the_disk_be_damaged(
    dff: Dff, expected: Any, damage: Callable[[Dff], None], told: str
) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    await_item(dff, 'hurt', 240)
    kill_all(dff, process)
    damage(dff)
    done = dff.run('train', '--json', '--resume', 'runs/hurt')
    assert_same(done, expected)
    logs = ''.join(path.read_text() for path in (dff.folder / 'runs/hurt/log').glob('layer*.log'))
    assert told in logs


@pytest.mark.slow
def test_a_layer_that_loses_its_disk_while_the_others_train(dff: Dff, expected: Any) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    await_item(dff, 'hurt', 240)
    dff.node('layer_1').kill()
    lose_all_of_a_layer(dff)
    assert_same(dff.finish(process), expected)


@pytest.mark.slow
def test_a_layer_that_hangs_is_waited_for(dff: Dff, expected: Any) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    await_item(dff, 'hurt', 180)
    node = dff.node('layer_1')
    node.suspend()
    time.sleep(8)
    node.resume()
    done = dff.finish(process)
    assert_same(done, expected)
    assert 'waiting for layer_1' in done.errors and 'is back' in done.errors


def test_a_node_that_dies_again_and_again_ends_the_run(dff: Dff) -> None:
    values = [*RUN, *settings(restart__max_per_minute=2, training__epochs=400)]
    process = dff.start('train', '--json', '--name', 'hurt', *values)
    await_item(dff, 'hurt', 60)
    deaths = 0
    known: set[int] = set()
    while process.poll() is None:
        for node in dff.nodes():
            # A node that dies this moment has no command line any more.
            with contextlib.suppress(psutil.Error):
                if '__node:=layer_1' in ' '.join(node.cmdline()) and node.pid not in known:
                    node.kill()
                    known.add(node.pid)
                    deaths += 1
        time.sleep(0.1)
    done = dff.finish(process)
    assert done.status == 1
    assert deaths == 3
    assert 'layer_1 was ended by SIGKILL' in done.answer['error']
    assert 'restart.max_per_minute' in done.answer['error']


# ---- pausing, disks, settings ----------------------------------------------------------------


def test_a_paused_run_goes_on_where_it_was(dff: Dff, expected: Any) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    await_item(dff, 'hurt', 120)
    process.send_signal(signal.SIGINT)
    paused = dff.finish(process)
    assert paused.status == 1
    assert 'paused at item' in paused.answer['error'] and '--resume' in paused.answer['error']
    item = _item(newest(dff, 0))
    done = dff.run('train', '--json', '--resume', 'runs/hurt')
    assert_same(done, expected)
    begun = (dff.folder / 'runs/hurt/log/layer_0.log').read_text()
    assert f'going on at item {item}' in begun


PAUSER = """
import sys
import rclpy
from std_srvs.srv import Trigger
rclpy.init()
node = rclpy.create_node('pauser')
pause = node.create_client(Trigger, sys.argv[1])
assert pause.wait_for_service(60)
answer = pause.call_async(Trigger.Request())
rclpy.spin_until_future_complete(node, answer, timeout_sec=60)
assert answer.result().success, answer.result()
print(answer.result().message)
"""


@pytest.mark.slow
def test_a_service_pauses_too(dff: Dff) -> None:
    long = settings(training__epochs=400)
    process = dff.start('train', '--json', '--name', 'hurt', *RUN, *long)
    await_item(dff, 'hurt', 60)
    asked = subprocess.run(
        [sys.executable, '-c', PAUSER, '/hurt/coordinator/pause'],
        env=dff.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert '--resume' in asked.stdout
    paused = dff.finish(process)
    assert paused.status == 1 and 'paused at item' in paused.answer['error']
    assert len({_item(newest(dff, layer)) for layer in range(3)}) == 1


@pytest.fixture
def small_disk(mount_disk: Callable[[str], Path]) -> Path:
    return mount_disk('40m')


def await_text(process: subprocess.Popen, text: str) -> None:
    """Read what a command says until some text comes."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f'{text!r} was never said')


def await_last_layer(disk: Path) -> Path:
    """Wait until all layers have saved once; give the folder of the checkpoints."""
    checkpoints = disk / 'hurt' / 'checkpoints'
    limit = time.monotonic() + 90
    while not list(checkpoints.glob('layer_2-*.ckpt')):
        assert time.monotonic() < limit, 'no checkpoint of layer_2 within 90 s'
        time.sleep(0.02)
    return checkpoints


def test_a_full_disk_pauses_the_training_until_there_is_room(
    dff: Dff, expected: Any, small_disk: Path, fill_disk: Callable[[Path], Path]
) -> None:
    process = dff.start('train', '--json', '--runs', str(small_disk), '--name', 'hurt', *RUN)
    await_last_layer(small_disk)
    filler = fill_disk(small_disk)
    await_text(process, 'room to write')
    filler.unlink()
    assert_same(dff.finish(process), expected)


@pytest.mark.slow
def test_a_folder_that_turns_read_only_is_waited_for(
    dff: Dff, expected: Any, small_disk: Path
) -> None:
    process = dff.start('train', '--json', '--runs', str(small_disk), '--name', 'hurt', *RUN)
    checkpoints = await_last_layer(small_disk)
    # Open files forbid a remount; a bind mount that may not be written is what remains.
    subprocess.run(['mount', '--bind', str(checkpoints), str(checkpoints)], check=True)
    subprocess.run(['mount', '-o', 'remount,bind,ro', str(checkpoints)], check=True)
    try:
        await_text(process, 'Read-only file system')
    finally:
        subprocess.run(['umount', str(checkpoints)], check=True)
    assert_same(dff.finish(process), expected)


@pytest.mark.slow
def test_only_what_changes_no_result_may_change(dff: Dff, expected: Any) -> None:
    process = dff.start('train', '--json', '--name', 'hurt', *RUN)
    await_item(dff, 'hurt', 120)
    kill_all(dff, process)
    refused = dff.run(
        'train', '--json', '--resume', 'runs/hurt', *settings(seed=5, network__1__units=51)
    )
    assert refused.status == 2
    for text in ('seed: 5 here, 0 there', 'network[1].units: 51 here, 50 there'):
        assert text in refused.answer['error']
    config = dff.folder / 'runs/hurt/config.yaml'
    text = config.read_text()
    config.write_text(text.replace('seed: 0', 'seed: 7'))
    edited = dff.run('train', '--json', '--resume', 'runs/hurt')
    assert edited.status == 2 and 'seed: 7 here, 0 there' in edited.answer['error']
    config.write_text(text)
    others = settings(stream__window_items=3, stream__replay_mb=20, checkpoint__every_items=0)
    assert_same(dff.run('train', '--json', '--resume', 'runs/hurt', *others), expected)


# ---- devices that are gone for good ----------------------------------------------------------

CLUSTER = """
network: [{units: 60}, {units: 50}, {units: 40}]
training: {epochs: 8, negatives: {mode: adaptive, lag_batches: 2}}
evaluation: {every_epochs: 3}
checkpoint: {every_items: 60, replicate: true}
restart: {lease_s: 10}
placement:
  pi1: [coordinator, layer_0]
  pi2: [layer_1]
  pi3: [layer_2]
  spare: [pi4]
"""


class Cluster:
    """Devices of one run, each with a disk of its own."""

    def __init__(self, dff: Dff) -> None:
        self.dff = dff
        (dff.folder / 'cluster.yaml').write_text(CLUSTER)
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, node: str, device: str, *arguments: str) -> subprocess.Popen:
        """Start a node on a device."""
        process = self.dff.start('run-node', node, 'cluster.yaml', '--runs', device, *arguments)
        self.processes[f'{node} on {device}'] = process
        return process

    def start_all(self) -> None:
        """Start all nodes where the placement has them."""
        for node, device in (
            ('coordinator', 'pi1'),
            ('layer_0', 'pi1'),
            ('layer_1', 'pi2'),
            ('layer_2', 'pi3'),
        ):
            self.start(node, device)

    def await_replica(self, layer: int, item: int) -> None:
        """Wait until the coordinator has a checkpoint of a layer behind an item."""
        folder = self.dff.folder / 'pi1/cluster/checkpoints'
        limit = time.monotonic() + 90
        while not any(
            _item(path) >= item for path in folder.glob(f'replica_layer_{layer}-*.ckpt')
        ):
            assert time.monotonic() < limit, f'no replica behind item {item} within 90 s'
            time.sleep(0.02)

    def result(self) -> Finished:
        """Wait for the coordinator and give what it wrote."""
        done = self.dff.finish(self.processes['coordinator on pi1'])
        file = self.dff.folder / 'pi1/cluster/result.json'
        done.answer = json.loads(file.read_text()) if file.exists() else {}
        return done

    def end(self) -> None:
        """End what is left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def cluster(dff: Dff) -> Iterator[Cluster]:
    made = Cluster(dff)
    yield made
    made.end()


@pytest.mark.slow
def test_a_layer_goes_on_on_another_device(cluster: Cluster, expected: Any) -> None:
    cluster.start_all()
    cluster.await_replica(1, 240)
    cluster.processes['layer_1 on pi2'].kill()
    cluster.start('layer_1', 'pi5')
    assert_same(cluster.result(), expected)
    log = cluster.dff.finish(cluster.processes['layer_1 on pi5']).errors
    assert 'fetched the replicas of items' in log and 'going on at item' in log
    behind = cluster.dff.finish(cluster.processes['layer_2 on pi3']).errors
    assert 'refused a message on status' not in behind, (
        'a node that has not joined yet is no other'
    )


def test_a_spare_takes_over_and_the_lost_device_steps_back(
    cluster: Cluster, expected: Any
) -> None:
    cluster.start_all()
    spare = cluster.start('spare', 'pi4', '--log-level', 'warn')
    cluster.await_replica(1, 180)
    lost = cluster.processes['layer_1 on pi2']
    lost.send_signal(signal.SIGSTOP)
    limit = time.monotonic() + 120
    while not list((cluster.dff.folder / 'pi4').glob('cluster/checkpoints/layer_1.incarnation')):
        assert time.monotonic() < limit, 'the spare did not take over within 120 s'
        time.sleep(0.05)
    taken_over = psutil.Process(spare.pid).cmdline()
    assert {'__node:=layer_1', 'cluster.layer_1:=warn', 'layer_1:=warn'} < set(taken_over)
    # The run lasts until the old one has heard of the newer, however late it does.
    behind = cluster.processes['layer_2 on pi3']
    behind.send_signal(signal.SIGSTOP)
    lost.send_signal(signal.SIGCONT)
    old = cluster.dff.finish(lost)
    behind.send_signal(signal.SIGCONT)
    assert_same(cluster.result(), expected)
    assert old.status == 3 and 'has taken over' in old.errors
    assert 'this device takes it over' in cluster.dff.finish(spare).errors


@pytest.mark.slow
def test_a_coordinator_comes_back_to_tell_that_the_run_has_finished(
    cluster: Cluster, expected: Any
) -> None:
    plain = cluster.dff
    fault = {VARIABLE: FAULTS[FaultPoint.AFTER_RESULT]}
    cluster.dff = Dff(plain.folder, plain.environment | fault)
    cluster.start_all()
    assert plain.finish(cluster.processes['coordinator on pi1']).status == -signal.SIGKILL
    cluster.dff = plain
    cluster.start('coordinator', 'pi1')
    assert_same(cluster.result(), expected)
    layers = [cluster.processes[f'layer_{layer} on pi{layer + 1}'] for layer in range(3)]
    assert [plain.finish(each).status for each in layers] == [0, 0, 0]
    again = plain.finish(cluster.start('coordinator', 'pi1'))
    assert again.status == 2 and 'has finished' in again.errors


@pytest.mark.slow
@pytest.mark.parametrize('unheard_s', [0, 8])
def test_a_layer_is_not_started_twice(cluster: Cluster, unheard_s: float) -> None:
    long = CLUSTER.replace('epochs: 8,', 'epochs: 80,')
    (cluster.dff.folder / 'cluster.yaml').write_text(long)
    cluster.start_all()
    cluster.await_replica(1, 60)
    coordinator = cluster.processes['coordinator on pi1']
    if unheard_s:
        coordinator.send_signal(signal.SIGSTOP)
    second = cluster.start('layer_1', 'pi5')
    # It hears the first one long before it can know that this is of the same run.
    time.sleep(unheard_s)
    coordinator.send_signal(signal.SIGCONT)
    second = cluster.dff.finish(second)
    assert second.status == 3
    assert 'layer_1 runs on' in second.errors and 'already' in second.errors
    done = cluster.result()
    assert done.status == 0, done.errors
    assert done.answer['restarts']['layer_1'] == 0


HOLDS_BACK = """
import sys, time, rclpy
from dff_msgs import msg
from dff_nodes.nodes import qos
rclpy.init()
node = rclpy.create_node('slow_discovery')
late = node.create_publisher(msg.LayerStatus, '/cluster/late/status', qos.STATUS)
heard = []
def forward(message):
    if late.get_subscription_count():
        heard.append(time.monotonic())
        if heard[-1] > heard[0] + float(sys.argv[1]):
            late.publish(message)
node.create_subscription(msg.LayerStatus, '/cluster/status', forward, qos.STATUS)
rclpy.spin(node)
"""
"""lets heartbeats through only after a while, as where nodes discover each other late"""


def test_a_layer_that_another_hears_late_keeps_its_place(cluster: Cluster) -> None:
    cluster.start_all()
    cluster.await_replica(1, 60)
    # So that the run lasts for as long as this takes.
    behind = cluster.processes['layer_2 on pi3']
    behind.send_signal(signal.SIGSTOP)
    spec = NodeSpec('layer_1', 'layer_node', {'layer': 1, 'runs': str(cluster.dff.folder / 'pi5')})
    commands = {
        'relay': [sys.executable, '-c', HOLDS_BACK, '6'],
        'second': [*spec.command('/cluster'), '-r', 'status:=late/status'],
    }
    for name, command in commands.items():
        cluster.processes[name] = subprocess.Popen(
            command,
            env=cluster.dff.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    second = cluster.dff.finish(cluster.processes['second'])
    assert second.status == 3, second.errors
    assert 'layer_1 runs on' in second.errors and 'already' in second.errors
    cluster.processes['relay'].kill()
    behind.send_signal(signal.SIGCONT)
    done = cluster.result()
    assert done.status == 0, done.errors
    assert done.answer['restarts']['layer_1'] == 0


@pytest.mark.slow
def test_a_layer_says_which_node_it_never_heard(cluster: Cluster) -> None:
    long = CLUSTER.replace('epochs: 8,', 'epochs: 400,')
    (cluster.dff.folder / 'cluster.yaml').write_text(long)
    cluster.start_all()
    cluster.await_replica(1, 60)
    folder = str(cluster.dff.folder / 'pi5')
    spec = NodeSpec('layer_1', 'layer_node', {'layer': 1, 'runs': folder, 'appear_s': 15.0})
    done = subprocess.run(
        [*spec.command('/cluster'), '-r', 'status:=nobody/status'],
        env=cluster.dff.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode not in (0, 3), done.stderr
    assert 'another layer_1, which the coordinator on' in done.stderr
    assert 'was not heard here within 15 s' in done.stderr
