# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is loaded is what the facts say, and validation samples come out of the training set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from dff_nodes.data.dataset import Dataset, load_dataset
from dff_nodes.data.facts import DataError, read_facts
from dff_nodes.data.torchvision_sets import SOURCES, dataset_root
from dff_nodes.runs.learning_config import DataConfig

ROOT = dataset_root(None)
MNIST = pytest.param(
    'mnist',
    marks=[
        pytest.mark.mnist,
        pytest.mark.skipif(not SOURCES['mnist'].is_in(ROOT), reason=f'MNIST is not in {ROOT}'),
    ],
)


def assert_agrees(dataset: Dataset) -> None:
    """Compare tensors with the facts."""
    facts = dataset.facts
    for x, y, samples in (
        (dataset.x_train, dataset.y_train, facts.train_samples),
        (dataset.x_test, dataset.y_test, facts.test_samples),
    ):
        assert x.shape == (samples, *facts.input_shape)
        assert x.dtype == getattr(torch, facts.dtype)
        assert x.is_contiguous()
        assert y.shape == (samples,)
        assert y.dtype == torch.int64
        assert y.min() >= 0
        assert y.max() < facts.classes
    assert dataset.x_train.max() == facts.scale


@pytest.mark.parametrize('name', ['digits', MNIST])
@pytest.mark.parametrize('validation_samples', [0, 200])
def test_facts_and_data_agree(name: str, validation_samples: int) -> None:
    data = DataConfig(dataset=name, download=False, validation_samples=validation_samples)
    dataset = load_dataset(data, seed=3)
    assert dataset.facts == read_facts(data)
    assert_agrees(dataset)


@pytest.mark.parametrize('name', [MNIST])
def test_mnist_is_mnist(name: str) -> None:
    dataset = load_dataset(DataConfig(dataset=name, download=False))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert dataset.y_train.bincount().tolist() == counts
    assert dataset.y_test[:6].tolist() == [7, 2, 1, 0, 4, 1]
    assert round(float(dataset.x_train.float().mean()) / 255, 4) == 0.1307


def rows(x: torch.Tensor, y: torch.Tensor) -> list[bytes]:
    """Give samples with their labels as comparable bytes."""
    return [i.numpy().tobytes() + bytes([label]) for i, label in zip(x, y, strict=True)]


def test_validation_samples_come_out_of_the_training_set() -> None:
    whole = load_dataset(DataConfig())
    split = load_dataset(DataConfig(validation_samples=300))
    train, held = rows(split.x_train, split.y_train), rows(split.x_test, split.y_test)
    assert (len(train), len(held)) == (1137, 300)
    assert sorted(train + held) == sorted(rows(whole.x_train, whole.y_train))


def test_validation_samples_are_the_same_for_every_seed() -> None:
    data = DataConfig(validation_samples=300)
    one, other = load_dataset(data, seed=0), load_dataset(data, seed=1)
    for name in ('x_train', 'y_train', 'x_test', 'y_test'):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_more_validation_samples_hold_out_the_same_and_more() -> None:
    few, many = (load_dataset(DataConfig(validation_samples=count)) for count in (100, 300))
    assert set(rows(few.x_test, few.y_test)) < set(rows(many.x_test, many.y_test))


def test_loading_refuses_settings_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r'data\.validation_samples'):
        load_dataset(DataConfig(validation_samples=1437))
    with pytest.raises(DataError, match=r'data\.shift_pixels'):
        load_dataset(DataConfig(shift_pixels=8))


def test_digits_need_no_torchvision() -> None:
    program = (
        'import sys; from dff_nodes.data.dataset import load_dataset; '
        'from dff_nodes.runs.learning_config import DataConfig; load_dataset(DataConfig()); '
        'print("torchvision" in sys.modules)'
    )
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == 'False', done.stderr
