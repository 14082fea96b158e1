# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a configuration with its type, range, default and documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dff_nodes.runs.config import Config
from dff_nodes.runs.layers import LocalSettings
from dff_nodes.runs.section import sections_in, tag_of

FIRST_LAYER = 'network[N](dense).'
STEPS = {'network': '[N]', 'parts': '[N]', 'auxiliary': '[N]', 'placement': '.DEVICE'}
TYPES = {
    int: 'whole number',
    float: 'number',
    bool: 'true | false',
    str: 'text',
    list[str]: 'list of texts',
}


@dataclass(frozen=True)
class Setting:
    """One setting as a reader of the file knows it."""

    key: str
    """`training.epochs`; `network[N](dense).units` where a list and a choice are above it"""
    type: str
    """'settings' where more of them are below"""
    default: str
    documentation: str


def explain_settings() -> list[Setting]:
    """Give every setting, in the order of the file."""
    return _explain_section(Config, '')


def _explain_section(section: type[BaseModel], prefix: str) -> list[Setting]:
    found = []
    for name, field in section.model_fields.items():
        key, text = f'{prefix}{name}', field.description or ''
        children = sections_in(field.annotation)
        if not children:
            found.append(Setting(key, _type_name(field), _default(field), text))
            continue
        found.append(Setting(key, 'settings', _chosen(field, children), text))
        if name in LocalSettings.model_fields and not key.startswith((FIRST_LAYER, 'training.')):
            # Every kind of layer learns in the same ways: they are explained once.
            found[-1] = replace(found[-1], documentation=f'{text}; as {FIRST_LAYER}{name}')
            continue
        for child in children:
            tag = f'({tag_of(child)})' if len(children) > 1 else ''
            found += _explain_section(child, f'{key}{STEPS.get(name, "")}{tag}.')
    return found


def _chosen(field: FieldInfo, children: list[type[BaseModel]]) -> str:
    """Name what stands there by default, where there is a choice."""
    if len(children) == 1 or field.is_required():
        return ''
    default = field.get_default(call_default_factory=True)
    if default == []:
        return '[]'
    first = default[0] if isinstance(default, list) else default
    return tag_of(type(first)) or ''


def _type_name(field: FieldInfo) -> str:
    """A type with its range: `number, more than 0, at most 10`, or one of several words."""
    if get_origin(field.annotation) is Literal:
        return ' | '.join(str(word) for word in get_args(field.annotation))
    kinds = [field.annotation] if field.annotation in TYPES else list(get_args(field.annotation))
    names = ' | '.join(TYPES[kind] for kind in kinds if kind in TYPES)
    return ', '.join([names or str(field.annotation), *_range(field)])


def _range(field: FieldInfo) -> list[str]:
    words = {
        annotated_types.Gt: ('gt', 'more than'),
        annotated_types.Ge: ('ge', 'at least'),
        annotated_types.Lt: ('lt', 'less than'),
        annotated_types.Le: ('le', 'at most'),
    }
    limits = [(each, *words[type(each)]) for each in field.metadata if type(each) in words]
    return [f'{word} {getattr(limit, name)}' for limit, name, word in limits]


def _default(field: FieldInfo) -> str:
    """Write a default as the file would."""
    if field.is_required():
        return '(required)'
    value: Any = field.get_default()
    return value if isinstance(value, str) else json.dumps(value)
