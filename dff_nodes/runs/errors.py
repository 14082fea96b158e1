# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is raised for a request that is wrong, and how it shows what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SHOWN_CHARACTERS = 200
"""of a value in a message"""


class ConfigError(ValueError):
    """A request that cannot be carried out; the message names the field, value and remedy."""


def shown(value: Any) -> str:
    """Write a value as it would stand in a configuration file, or the beginning of a long one."""
    # Piece by piece, as the whole of a few anchors upon anchors would fill the memory.
    text = ''
    for piece in _pieces(value):
        text += piece
        if len(text) > SHOWN_CHARACTERS:
            return f'{text[:SHOWN_CHARACTERS]}…'
    return text


def _pieces(value: Any) -> Iterator[str]:
    if value is None or isinstance(value, bool):
        yield {None: 'null', True: 'true', False: 'false'}[value]
    elif isinstance(value, (list, tuple)):
        yield '['
        for index, each in enumerate(value):
            yield ', ' if index else ''
            yield from _pieces(each)
        yield ']'
    elif isinstance(value, dict):
        yield '{'
        for index, (key, each) in enumerate(value.items()):
            yield ', ' if index else ''
            yield from [_start(key)] if isinstance(key, str) else _pieces(key)
            yield ': '
            yield from _pieces(each)
        yield '}'
    elif isinstance(value, int) and value.bit_length() > SHOWN_CHARACTERS:
        # Python refuses to write the longest ones in decimal.
        yield hex(value)
    else:
        yield repr(_start(value))


def _start(value: Any) -> Any:
    return value[: SHOWN_CHARACTERS + 1] if isinstance(value, (str, bytes)) else value
