# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Layers on a CUDA device: what they learn on the CPU, the same bits each time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from layers_on_digits import CPU, LAYERS, digits, run_of
from test_class_nodes import a_graph, a_run
from test_rules import CASES, AnyRule

from dff_nodes.data.batches import Batches
from dff_nodes.learning.batch import Batch
from dff_nodes.learning.compute import prepare_torch
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.learning.negatives import random_labels
from dff_nodes.runs.resolve import ResolvedRun

CUDA = torch.device('cuda')
STEPS = 8
MUON = {'name': 'muon', 'learning_rate': 0.02}
TWO_STREAMS = ['threshold', 'symba', 'swish']

if not torch.cuda.is_available():
    pytest.skip('no CUDA device here', allow_module_level=True)


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    prepare_torch(1, CUDA)


def single(rule: AnyRule, kind: str, **settings: Any) -> ResolvedRun:
    return run_of(
        LAYERS[kind] | {'rule': rule} | settings,
        training={'epochs': 6, 'batch_size': 64},
        compute={'precision': 'float32'},
    )


def learned(layer: Layer, batches: Batches, streams: int = 1) -> list[float]:
    """Train some steps and give their losses."""
    losses = []
    for step in range(STEPS):
        batch = batches.batch(0, step)
        wrong = random_labels(batch.labels, 10, 0, step) if streams == 2 else None
        _, figures = layer.train(Batch(batch.images, labels=batch.labels, negative_labels=wrong))
        losses.append(figures.loss)
    return losses


def check_like_cpu(run: ResolvedRun, streams: int = 1) -> None:
    """Compare one layer with itself: on the CPU nearly, on the device to the bit."""
    there, again, here = (make_layer(run, 0, device) for device in (CUDA, CUDA, CPU))
    batches = digits()
    losses = learned(there, batches, streams)
    assert losses == learned(again, batches, streams)
    assert there.weights_sha256() == again.weights_sha256()
    assert losses == pytest.approx(learned(here, batches, streams), rel=0.02, abs=1e-3)
    here.load_state({name: tensor.cpu() for name, tensor in there.state().items()})
    images = Batch(batches.dataset.x_test[:50])
    passed, scores = there.evaluate(images)
    expected, expected_scores = here.evaluate(images)
    assert passed.positive.is_cuda
    torch.testing.assert_close(scores.cpu(), expected_scores, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(passed.positive.cpu(), expected.positive, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(('rule', 'kind'), CASES)
def test_a_layer_of_one_stream(rule: AnyRule, kind: str) -> None:
    check_like_cpu(single(rule, kind, optimizer=MUON, dropout=0.2))


@pytest.mark.parametrize('kind', ['dense', 'conv'])
@pytest.mark.parametrize('rule', TWO_STREAMS)
def test_a_layer_of_two_streams(rule: str, kind: str) -> None:
    layer = LAYERS[kind] | {'normalization': 'none', 'initialization': 'lecun', 'rule': rule}
    check_like_cpu(run_of(layer, compute={'precision': 'float32'}), streams=2)


def test_a_layer_of_a_graph() -> None:
    there, here = (make_layer(a_run(), 0, device) for device in (CUDA, CPU))
    batch = a_graph()
    for _ in range(STEPS):
        _, figures = there.train(batch)
        _, expected = here.train(batch)
        assert figures.loss == pytest.approx(expected.loss, rel=0.01)


@pytest.mark.parametrize('precision', ['auto', 'float32'])
def test_a_run_gives_the_same_weights_twice(precision: str, tmp_path: Path) -> None:
    config = tmp_path / 'config.yaml'
    config.write_text(
        f'compute: {{device: cuda, precision: {precision}}}\n'
        'data: {flip: true, shift_pixels: 1}\n'
        'network:\n'
        '  - {type: conv, channels: 16, pool: 2, rule: pred_sim}\n'
        '  - {type: conv, channels: 32, rule: softmax_head, dropout: 0.1}\n'
        '  - {units: 32, normalization: batch, rule: softmax_head}\n'
        'training: {epochs: 2}\n'
    )
    digests = []
    for run in ('one', 'two'):
        command = ['train', str(config), '--reference', '--json', '--runs', str(tmp_path)]
        done = subprocess.run(
            [sys.executable, '-m', 'dff_nodes.cli', *command, '--name', run],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout.splitlines()[-1])['weights_sha256'])
    assert digests[0] == digests[1]
