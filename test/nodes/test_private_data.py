# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Federated training: no sample and no label of a worker's own data leaves its node.

A watcher takes in all that is published on every topic of the run, and looks for the bytes of
every training sample in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dff_command import Dff, settings

pytestmark = pytest.mark.ros

WATCHER = """
import importlib, json, os, sys, time
import numpy as np
import rclpy
rclpy.init()
node = rclpy.create_node('watcher')
space, data, stop = sys.argv[1:]
samples = {each.tobytes() for each in np.load(data)['x_train']}
seen, leaks, subscriptions, kinds = {}, [], {}, {}

def keep(topic, message):
    seen[topic] = seen.get(topic, 0) + len(message)
    whole = bytes(message)
    leaks.extend(topic for each in samples if each in whole)

def get_message(kind):
    package, _, name = kind.split('/')
    return getattr(importlib.import_module(f'{package}.msg'), name)

def look():
    for topic, types in node.get_topic_names_and_types():
        if topic not in subscriptions and topic.startswith(space):
            kinds[topic] = types[0]
            subscriptions[topic] = node.create_subscription(
                get_message(types[0]), topic, lambda m, t=topic: keep(t, m), 1000, raw=True
            )

print('watching', file=sys.stderr, flush=True)
limit = time.monotonic() + 120
while time.monotonic() < limit and not os.path.exists(stop):
    look()
    for _ in range(20):
        rclpy.spin_once(node, timeout_sec=0.01)
print(json.dumps({'seen': seen, 'leaks': leaks, 'kinds': kinds}))
"""


def some_data(path: Path) -> Path:
    """Images of random pixels in which a class is seen: no two share a row of bytes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 400)
    images = random.integers(0, 256, (400, 8, 8, 1), dtype=np.uint8)
    images[np.arange(400), labels * 2] = 255
    np.savez(
        path,
        x_train=images[:300],
        y_train=labels[:300],
        x_test=images[300:],
        y_test=labels[300:],
    )
    return path


def watched(dff: Dff, **more: object) -> dict:
    """Train on the data with a watcher beside; give what it saw."""
    data = some_data(dff.folder / 'private.npz')
    stop = dff.folder / 'stop'
    watcher = subprocess.Popen(
        [sys.executable, '-c', WATCHER, '/private', str(data), str(stop)],
        env=dff.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert 'watching' in watcher.stderr.readline()
    values = settings(
        data__dataset=str(data),
        network=[{'units': 16}] * 2,
        training__epochs=80,
        evaluation__every_epochs=10,
        training__batch_size=30,
        training__negatives__mode='adaptive',
        **more,
    )
    done = dff.run('train', '--json', '--name', 'private', *values)
    stop.touch()
    output, errors = watcher.communicate(timeout=60)
    assert done.status == 0, done.errors
    assert watcher.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def test_no_sample_leaves_its_worker(dff: Dff) -> None:
    told = watched(dff, schedule='federated')
    assert told['leaks'] == []
    # It has seen what did travel: layers, and no activations anywhere.
    assert told['seen']['/private/worker_1/parts'] > 0
    assert told['seen']['/private/coordinator/parts'] > 0
    assert set(told['kinds'].values()).isdisjoint(
        {'dff_msgs/msg/Activations', 'dff_msgs/msg/Goodness'}
    )


def test_the_watcher_sees_samples_where_they_travel(dff: Dff) -> None:
    told = watched(dff, schedule='stream')
    assert set(told['leaks']) == {'/private/layer_0/input'}
