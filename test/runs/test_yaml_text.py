# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""YAML of settings means what it reads as, or is refused with its line."""

from __future__ import annotations

import pytest

from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.yaml_text import load_yaml


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, 'run.yaml')
    return str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'training: {}\n\nseed: 1\ntraining: {}',
            'line 4: training is there twice (first on line 1)',
        ),
        ('a:\n  b: 1\n  "b": 2', 'line 3: b is there twice (first on line 2)'),
        ('[{a: 1, a: 2}]', 'line 1: a is there twice (first on line 1)'),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, message: str) -> None:
    assert refused(text) == f'run.yaml, {message}'


def test_a_key_may_stand_beside_one_that_it_overrides() -> None:
    tree = load_yaml('a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {y: 4, <<: [*b, *a]}', '')
    assert tree == {'a': {'x': 1, 'y': 2}, 'b': {'x': 1, 'y': 3}, 'c': {'x': 1, 'y': 4}}
