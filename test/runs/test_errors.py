# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Values are shown in messages as a configuration file would hold them, within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from dff_nodes.runs.errors import shown


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, 'null'),
        (True, 'true'),
        ([1, 'a', [None]], "[1, 'a', [null]]"),
        ((0, 2), '[0, 2]'),
        ({'a': {'b': False}, 'c': 1}, '{a: {b: false}, c: 1}'),
        ([], '[]'),
        ({}, '{}'),
        ({None: 1, 2: 3}, '{null: 1, 2: 3}'),
    ],
)
def test_a_value_is_shown_as_in_a_file(value: Any, text: str) -> None:
    assert shown(value) == text


def test_only_the_beginning_of_a_long_value_is_shown() -> None:
    endless: list[Any] = []
    endless.append(endless)
    many: Any = 1
    for _ in range(20):
        many = [many] * 10
    for value in (endless, many, 'x' * 10**6, {'x' * 10**6: 1}, [1] * 10**6, 1 << 10**5):
        assert len(shown(value)) == 201
        assert shown(value).endswith('…')
