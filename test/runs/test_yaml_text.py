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


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('2024-99-99', '2024-99-99'),
        ('2024-01-01', '2024-01-01'),
        ('1:30', '1:30'),
        ('1:30.5', '1:30.5'),
        ('010', '010'),
        ('-017', '-017'),
        ('0', 0),
        ('-12', -12),
        ('1_000', 1000),
        ('0x1f', 31),
        ('0b11', 3),
        ('0.5', 0.5),
        ('1.5e-3', 0.0015),
        ('.5', 0.5),
        ('1e-3', '1e-3'),
        ('.inf', float('inf')),
        ('yes', True),
    ],
)
def test_what_reads_as_text_is_text(text: str, value: object) -> None:
    read = load_yaml(text, '')
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize('text', ['!!int five', '!!int ""', '!!bool maybe', '!!timestamp now'])
def test_what_does_not_fit_its_tag_is_refused(text: str) -> None:
    kind = text[2:].split()[0]
    assert f'cannot be read as {kind}' in refused(f'a: 1\nb: {text}')


def test_a_number_too_long_to_be_read_is_refused() -> None:
    assert refused('9' * 5000).endswith('cannot be read as int')


@pytest.mark.parametrize('text', ['[' * 60, '{a: ' * 60, '[' * 100_000, '- ' * 60])
def test_too_many_levels_are_refused(text: str) -> None:
    assert 'line 1: more than 50 levels of settings' in refused(text)


def test_anchors_upon_anchors_are_refused() -> None:
    lines = ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]']
    for level in range(9):
        lines.append(f'a{level + 1}: &a{level + 1} [{", ".join([f"*a{level}"] * 10)}]')
    assert refused('\n'.join(lines)) == (
        'run.yaml, line 5: more than 100000 values, anchors written out'
    )


def test_an_anchor_inside_itself_is_refused() -> None:
    assert refused('a: &a [1, *a]') == 'run.yaml, line 1: *a stands inside &a'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: *a', "line 1, column 4: found undefined alias 'a'"),
        ('a: 1\n---\nb: 2', 'line 2, column 1: expected a single document in the stream, but'),
        ('a:\n  - b: [1\nc: 2', 'line 3, column 2: while parsing a flow sequence, expected'),
        ('a: \x00', 'unacceptable character #x0000: special characters are not allowed'),
        ('a: !!python/object:os.system x', 'line 1, column 4: could not determine a constructor'),
        ('? [1]\n: 2', 'line 1, column 3: while constructing a mapping, found unhashable key'),
    ],
)
def test_what_is_not_yaml_is_told_in_one_line(text: str, message: str) -> None:
    told = refused(text)
    assert told.startswith(f'run.yaml is not valid YAML: {message}')
    assert len(told.splitlines()) == 1
