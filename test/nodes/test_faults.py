# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run does when it is stopped, when a node dies, and when others share its network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from dff_command import Dff, settings

from dff_nodes.data.digits import load_digits

pytestmark = pytest.mark.ros

LONG = settings(
    network=[{'units': 64}, {'units': 64}], training__epochs=400, checkpoint__every_s=0.5
)


def await_training(dff: Dff, name: str, rows: int = 3) -> None:
    """Wait until a run has written some metrics."""
    metrics = dff.folder / 'runs' / name / 'metrics.csv'
    limit = time.monotonic() + 60
    while not metrics.exists() or len(metrics.read_text().splitlines()) <= rows:
        assert time.monotonic() < limit, 'no metrics within 60 s'
        time.sleep(0.1)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_every_node(dff: Dff, number: signal.Signals) -> None:
    process = dff.start('train', '--json', '--name', 'stopped', *LONG)
    await_training(dff, 'stopped')
    process.send_signal(number)
    done = dff.finish(process)
    assert done.status == 1
    assert 'paused at item' in done.answer['error']
    assert '--resume' in done.answer['error']
    assert 'Traceback' not in done.errors
    dff.await_gone()


def test_a_run_that_is_trained_is_left_alone(dff: Dff) -> None:
    """Nodes that evaluate it would have its names, and their end would be the training's."""
    process = dff.start('train', '--json', '--name', 'busy', *LONG)
    await_training(dff, 'busy')
    for words in (['evaluate', 'runs/busy'], ['train', '--resume', 'runs/busy']):
        refused = dff.run(*words, '--json')
        assert refused.status == 2
        assert f'is in use by dff train, process {process.pid}' in refused.answer['error']
    process.send_signal(signal.SIGHUP)
    done = dff.finish(process)
    assert done.status == 1
    assert 'paused at item' in done.answer['error'], 'as when its terminal goes away'
    evaluated = dff.run('evaluate', 'runs/busy', '--json')
    assert evaluated.status == 0, evaluated.errors


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--set', f'data.dataset={"x" * 300}.npz'], 'x.npz'),
        (['--set', 'compute.device=cuda', '--reference'], 'compute.device'),
    ],
)
def test_a_request_that_is_refused_leaves_no_run(dff: Dff, words: list[str], said: str) -> None:
    if 'cuda' in words[1] and torch.cuda.is_available():
        pytest.skip('there is a CUDA device here')
    done = dff.run('train', '--json', '--name', 'wrong', *words)
    assert done.status == 2
    assert said in done.answer['error']
    assert not (dff.folder / 'runs' / 'wrong').exists()


def test_what_only_the_coordinator_sees_is_refused_in_one_line(dff: Dff) -> None:
    _, digits = load_digits()
    arrays = {name: np.asarray(each) for name, each in digits.items()}
    arrays['x_train'] = arrays['x_train'].astype(np.float32)
    arrays['x_test'] = arrays['x_test'].astype(np.float32)
    arrays['x_train'][5] = np.nan
    np.savez(dff.folder / 'nan.npz', **arrays)
    done = dff.run('train', '--json', '--name', 'wrong', '--set', 'data.dataset=nan.npz')
    assert done.status == 2
    (line,) = [each for each in done.errors.splitlines() if 'x_train' in each]
    assert line.startswith('dff train: ') and 'nan.npz' in line
    assert not (dff.folder / 'runs' / 'wrong').exists()
    dff.await_gone()


def test_a_wrong_domain_is_named_before_any_node_starts(dff: Dff) -> None:
    wrong = Dff(dff.folder, dff.environment | {'ROS_DOMAIN_ID': '500'})
    done = wrong.run('train', '--json', '--name', 'far')
    assert done.status == 2
    assert "ROS_DOMAIN_ID must be a number from 0 to 101, got '500'" in done.answer['error']


def test_a_middleware_that_is_not_there_is_named_before_any_node_starts(dff: Dff) -> None:
    wrong = Dff(dff.folder, dff.environment | {'RMW_IMPLEMENTATION': 'rmw_of_nobody'})
    done = wrong.run('train', '--json', '--name', 'mute')
    assert done.status == 2
    assert "RMW_IMPLEMENTATION is 'rmw_of_nobody'" in done.answer['error']
    assert not (dff.folder / 'runs' / 'mute').exists()
    there = Dff(dff.folder, dff.environment | {'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'})
    assert there.run('train', '--set', 'training.epochs=1', '--name', 'heard').status == 0


def test_a_killed_command_leaves_no_node(dff: Dff) -> None:
    process = dff.start('train', '--name', 'killed', *LONG)
    await_training(dff, 'killed')
    process.kill()
    process.communicate()
    dff.await_gone()


def test_a_killed_layer_is_named_if_it_may_not_be_restarted(dff: Dff) -> None:
    never = settings(restart__max_per_minute=0)
    process = dff.start('train', '--json', '--name', 'hurt', *LONG, *never)
    await_training(dff, 'hurt')
    dff.node('layer_1').kill()
    done = dff.finish(process)
    assert done.status == 1
    assert 'layer_1' in done.answer['error'] and 'SIGKILL' in done.answer['error']
    dff.await_gone()


def test_a_layer_that_never_appears_is_named(dff: Dff) -> None:
    """Only the coordinator is started, as when a device of a cluster stays off."""
    config = dff.folder / 'lonely.yaml'
    config.write_text(
        'network: [{units: 8}, {units: 8}]\n'
        'stream: {appear_s: 2}\n'
        'placement: {pi1: [coordinator, layer_0], pi2: [layer_1]}\n'
    )
    done = dff.run('run-node', 'coordinator', str(config))
    assert done.status == 1
    assert 'layer_1 on pi2 did not appear within 2 s' in done.errors
    assert 'Traceback' not in done.errors


@pytest.mark.parametrize('schedule', ['stream', 'single_layer'])
@pytest.mark.parametrize('where', [[], ['--reference']], ids=['ros', 'reference'])
def test_training_that_diverges_ends_and_says_so(
    dff: Dff, schedule: str, where: list[str]
) -> None:
    """Nobody takes what is not finite, so that a run which went on would wait for ever."""
    diverging = settings(
        network=[{'units': 50, 'activation': 'none', 'rule': 'reconstruct'}] * 2,
        training__optimizer={'name': 'sgd', 'learning_rate': 10, 'momentum': 0.99},
        training__epochs=3,
        schedule__name=schedule,
    )
    done = dff.run('train', '--json', '--name', 'diverged', *diverging, *where)
    assert done.status == 1
    assert 'is not finite' in done.answer['error']
    assert 'training diverged; lower training.optimizer.learning_rate' in done.answer['error']
    assert 'Traceback' not in done.errors
    dff.await_gone()


def test_two_runs_on_one_network_do_not_mix(dff: Dff) -> None:
    """
    Different names: different namespaces. The same name elsewhere: one refused, or kept apart.

    Whichever of the two is ready first has the namespace, and both may be ready at once.
    """
    few = settings(network=[{'units': 40}, {'units': 40}], training__epochs=12)
    started = [
        dff.start('train', '--json', '--name', name, '--runs', runs, *few, '--set', f'seed={seed}')
        for name, runs, seed in (('one', 'runs', 1), ('two', 'runs', 2), ('one', 'other', 3))
    ]
    finished = [dff.finish(process) for process in started]
    refused = [done for done in finished if done.status == 2]
    assert finished[1] not in refused
    assert len(refused) <= 1
    for done in refused:
        assert 'in use by run one' in done.answer['error']
    for seed, done in enumerate(finished, start=1):
        if done in refused:
            continue
        assert done.status == 0, done.errors
        expected = dff.run(
            'train', '--json', '--reference', '--name', f'r{seed}', *few, '--set', f'seed={seed}'
        )
        assert done.answer['weights_sha256'] == expected.answer['weights_sha256']


INTRUDER = """
import sys, time
from array import array
import rclpy
from dff_msgs.msg import Activations, Credit, Goodness
from dff_nodes.nodes import qos
rclpy.init()
node = rclpy.create_node('intruder')
ours = list(bytes.fromhex(sys.argv[2]))
space = sys.argv[1]
items = node.create_publisher(Activations, f'{space}/layer_1/input', qos.bulk(4))
credits = node.create_publisher(Credit, f'{space}/layer_1/credit', qos.CREDIT)
scores = node.create_publisher(Goodness, f'{space}/goodness', qos.bulk(8))
while min(each.get_subscription_count() for each in (items, credits, scores)) < 1:
    time.sleep(0.05)
nan = array('B', b'\\x00\\x00\\xc0\\x7f' * 64 * 64)
wrong = [
    Activations(run_id=[9] * 16, item=5),
    Activations(run_id=ours, incarnation=1, item=2**63, kind=0, samples=64, candidates=1,
                shape=array('I', [64]), dtype=2, positive=nan, negative=nan),
    Activations(run_id=ours, incarnation=1, item=2**63, kind=0, samples=2**31, candidates=1,
                shape=array('I', [2**31]), dtype=2),
    Activations(run_id=ours, incarnation=1, item=2**63, kind=77),
    Activations(run_id=ours, incarnation=1, item=2**63, kind=3, mark=9),
]
for _ in range(20):
    for message in wrong:
        items.publish(message)
    credits.publish(Credit(run_id=[9] * 16, incarnation=1, expected=2**62, window=1000))
    credits.publish(Credit(run_id=ours, incarnation=1, expected=2**62, window=1000, durable=2**62))
    scores.publish(Goodness(run_id=[9] * 16))
    scores.publish(Goodness(run_id=ours, incarnation=1, layer=999, sequence=2**62))
    scores.publish(Goodness(run_id=ours, incarnation=1, layer=0, sequence=2**62, item=3,
                            samples=2**31, classes=2**31))
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_foreign_and_malformed_messages_change_nothing(dff: Dff) -> None:
    few = settings(network=[{'units': 64}, {'units': 64}], training__epochs=60)
    process = dff.start('train', '--json', '--name', 'attacked', *few)
    await_training(dff, 'attacked', rows=0)
    identity = json.loads((dff.folder / 'runs/attacked/run.json').read_text())
    script = dff.folder / 'intruder.py'
    script.write_text(INTRUDER)
    intruder = subprocess.run(
        [sys.executable, str(script), '/attacked', identity['run_id']],
        env=dff.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert intruder.returncode == 0, intruder.stderr
    attacked = dff.finish(process)
    assert attacked.status == 0, attacked.errors
    expected = dff.run('train', '--json', '--reference', '--name', 'calm', *few)
    assert attacked.answer['weights_sha256'] == expected.answer['weights_sha256']
    rejected = attacked.answer['rejected_messages']
    assert rejected['layer_1'] > 20 and rejected['layer_0'] > 0 and rejected['coordinator'] > 0


def test_no_room_for_the_run_folder(dff: Dff) -> None:
    done = dff.run('train', '--json', '--runs', '/proc/nowhere')
    assert done.status == 2
    assert '/proc/nowhere' in done.answer['error'] and '--runs' in done.answer['error']


@pytest.mark.slow
def test_an_npz_run_can_be_evaluated_from_another_folder(dff: Dff) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(64) % 4
    images = (random.integers(0, 60, (64, 6, 6)) + 40 * labels[:, None, None]).astype(np.uint8)
    np.savez(dff.folder / 'own.npz', x_train=images, y_train=labels, x_test=images, y_test=labels)
    few = settings(network=[{'units': 30}], training__epochs=3, training__batch_size=16)
    trained = dff.run('train', '--json', '--name', 'own', '--set', 'data.dataset=own.npz', *few)
    assert trained.status == 0, trained.errors
    elsewhere = Dff(dff.folder / 'runs', dff.environment)
    evaluated = elsewhere.run('evaluate', '--json', 'own')
    assert evaluated.status == 0, evaluated.errors
    assert evaluated.answer['test_accuracy'] == trained.answer['test_accuracy']
    assert evaluated.answer['weights_sha256'] == trained.answer['weights_sha256']


def test_a_data_set_that_a_node_cannot_read_is_a_clear_error(dff: Dff, tmp_path: Path) -> None:
    missing = tmp_path / 'gone.npz'
    done = dff.run('train', '--json', '--set', f'data.dataset={missing}')
    assert done.status == 2
    assert str(missing) in done.answer['error']
    assert not (dff.folder / 'runs').exists() or not list((dff.folder / 'runs').iterdir())
