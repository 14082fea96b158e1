# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""From pydantic's validation errors to one line each that a user understands."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import shown
from dff_nodes.runs.section import sections_in, tag_of

KINDS = {
    'int_parsing': 'a whole number',
    'int_from_float': 'a whole number',
    'int_type': 'a whole number',
    'float_parsing': 'a number',
    'float_type': 'a number',
    'bool_parsing': 'true or false',
    'bool_type': 'true or false',
    'string_type': 'text',
    'list_type': 'a list',
    'tuple_type': 'a list, as in [0, 2]',
    'dict_type': 'settings, as in {key: value}',
    'model_type': 'settings, as in {key: value}',
    'model_attributes_type': 'settings, as in {key: value}',
}
"""what would be right, by the type of pydantic's error"""


def message(issue: dict[str, Any]) -> str:
    """One line for one validation error: the field, what would be right, the value."""
    field = field_name(issue['loc'])
    if issue['type'] == 'invalid_key' or issue['loc'][-1:] == ('[key]',):
        return _explain_key(issue)
    if issue['type'] == 'extra_forbidden':
        return _explain_unknown(issue['loc'])
    if issue['type'] in ('union_tag_invalid', 'union_tag_not_found'):
        return f'{field} {_right_tag(issue)}, got {shown(issue["input"])}'
    if issue['type'] == 'value_error':
        text = str(issue['ctx']['error'])
        return f'{field}: {text}' if field else text
    if issue['type'] in ('too_long', 'too_short'):
        return f'{field} must have {_right_length(issue)}, got {shown(issue["input"])}'
    text = issue['msg'].removeprefix('Input should be ').removeprefix('a ')
    return f'{field} must be {KINDS.get(issue["type"], text)}, got {shown(issue["input"])}'


def _explain_key(issue: dict[str, Any]) -> str:
    """Name a key that is no text, and the settings that it is in."""
    *place, _ = issue['loc'] if issue['type'] == 'invalid_key' else issue['loc'][:-1]
    among = f' in {field_name(tuple(place))}' if place else ''
    return f'key {shown(issue["input"])}{among} must be text'


def _right_tag(issue: dict[str, Any]) -> str:
    """Name what chooses among several sections, and what it may be."""
    key = issue['ctx']['discriminator'].strip("'")
    sections = _sections_at(issue['loc'])
    choices = [tag_of(each) for each in sections if key in each.model_fields]
    near = difflib.get_close_matches(str(issue['ctx'].get('tag', '')), choices, n=1)
    hint = f' (did you mean {near[0]!r}?)' if near else ''
    return f'must have a {key} among {", ".join(map(repr, choices))}{hint}'


def _right_length(issue: dict[str, Any]) -> str:
    most, least = issue['ctx'].get('max_length'), issue['ctx'].get('min_length')
    bound, count = ('at most', most) if most is not None else ('at least', least)
    return f'{bound} {count} {"entry" if count == 1 else "entries"}'


def _explain_unknown(location: tuple[str | int, ...]) -> str:
    section, key = _sections_at(location[:-1])[0], str(location[-1])
    known = sorted(section.model_fields)
    others = [each for each in _rivals(location[:-1]) if key in each.model_fields]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f'did you mean {near[0]!r}?' if near else f'known here: {", ".join(known)}'
    if others:
        there = ' and '.join(str(tag_of(each)) for each in others)
        return f'{field_name(location)} is not a setting of {tag_of(section)}, but of {there}'
    return f'{field_name(location)} is not a setting; {hint}'


def field_name(location: tuple[str | int, ...]) -> str:
    """Write a path as `network[2].units`, without pydantic's union tags."""
    text = ''
    for step, _, is_tag in _walk(location):
        if isinstance(step, int):
            text += f'[{step}]'
        elif not is_tag:
            text += f'.{step}' if text else str(step)
    return text


def _sections_at(location: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """Find the section classes that may be at a path of the configuration, or the one."""
    found: list[type[BaseModel]] = [Config]
    for _, sections, _ in _walk(location):
        found = sections or found
    return found


def _rivals(location: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """Find the section classes that might have been chosen at a path instead of the one there."""
    *_, before, last = [[Config], [Config], *(sections for _, sections, _ in _walk(location))]
    return [each for each in before if each not in last]


def _walk(
    location: tuple[str | int, ...],
) -> Iterator[tuple[str | int, list[type[BaseModel]], bool]]:
    """Give each step of a path, the section classes that may be there, and if it is a tag."""
    sections: list[type[BaseModel]] = [Config]
    for step in location:
        tagged = [each for each in sections if step == tag_of(each)]
        if len(sections) > 1 and tagged:
            sections = tagged
            yield step, sections, True
            continue
        if isinstance(step, str):
            sections = [
                child
                for each in sections
                if step in each.model_fields
                for child in sections_in(each.model_fields[step].annotation)
            ]
        yield step, sections, False
