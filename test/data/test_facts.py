# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Facts are right, quick to have, and refused when impossible."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dff_nodes.data.facts import KNOWN, DataError, DataFacts, read_facts
from dff_nodes.runs.learning_config import DataConfig

GOLDEN = {
    'digits': ((8, 8, 1), 10, 1437, 360, 16.0, 'uint8'),
    'mnist': ((28, 28, 1), 10, 60000, 10000, 255.0, 'uint8'),
    'fashion_mnist': ((28, 28, 1), 10, 60000, 10000, 255.0, 'uint8'),
    'cifar10': ((32, 32, 3), 10, 50000, 10000, 255.0, 'uint8'),
}


def changed(**changes: object) -> dict[str, object]:
    return KNOWN['digits'].as_dict() | changes


def test_golden_facts() -> None:
    assert {name: DataFacts(*facts) for name, facts in GOLDEN.items()} == KNOWN
    for name, facts in GOLDEN.items():
        assert read_facts(DataConfig(dataset=name)) == DataFacts(*facts)
    assert KNOWN['cifar10'].features == 3072


@pytest.mark.parametrize('name', KNOWN)
def test_json_round_trip(name: str) -> None:
    text = json.dumps(KNOWN[name].as_dict())
    assert DataFacts.from_dict(json.loads(text)) == KNOWN[name]


@pytest.mark.parametrize(
    'tree',
    [
        None,
        [],
        {},
        changed(extra=1),
        changed(input_shape=None),
        changed(input_shape=[8, 8]),
        changed(input_shape=[8, 8, 0]),
        changed(input_shape='abc'),
        changed(classes=1),
        changed(classes=True),
        changed(train_samples=0),
        changed(test_samples=2.5),
        changed(scale=0.0),
        changed(scale=float('nan')),
        changed(scale=10**400),
        changed(scale='255'),
        changed(dtype='float64'),
        changed(dtype=[]),
    ],
)
def test_impossible_facts_are_refused(tree: object) -> None:
    with pytest.raises(DataError):
        DataFacts.from_dict(tree)


def test_importing_facts_needs_no_torch() -> None:
    program = (
        'import sys; from dff_nodes.data.facts import KNOWN; '
        'print([name for name in ("torch", "torchvision", "numpy") if name in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize(
    ('dataset', 'near'),
    [('minst', 'mnist'), ('Fashion-MNIST', 'fashion_mnist'), ('CIFAR-10', 'cifar10')],
)
def test_unknown_name_gets_the_nearest_and_all(dataset: str, near: str) -> None:
    with pytest.raises(DataError, match=f'data.dataset .*did you mean {near!r}') as caught:
        read_facts(DataConfig(dataset=dataset))
    for each in (*KNOWN, '.npz'):
        assert each in str(caught.value)


def test_name_like_none_gets_all() -> None:
    with pytest.raises(DataError, match='There are digits') as caught:
        read_facts(DataConfig(dataset='/x/y.csv'))
    assert 'did you mean' not in str(caught.value)


def test_validation_samples_replace_the_test_set() -> None:
    facts = read_facts(DataConfig(dataset='mnist', validation_samples=5000))
    assert (facts.train_samples, facts.test_samples) == (55000, 5000)


@pytest.mark.parametrize('count', [1437, 10**9])
def test_too_many_validation_samples(count: int) -> None:
    with pytest.raises(DataError, match=rf'data\.validation_samples .*1436.*got {count}'):
        read_facts(DataConfig(validation_samples=count))
    assert read_facts(DataConfig(validation_samples=1436)).train_samples == 1


def test_shift_that_could_empty_an_image() -> None:
    with pytest.raises(DataError, match=r'data\.shift_pixels must be at most 7 .*got 8'):
        read_facts(DataConfig(shift_pixels=8))
    assert read_facts(DataConfig(shift_pixels=7)) == KNOWN['digits']
