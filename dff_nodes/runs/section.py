# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What all parts of a configuration share."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
LEADING_ZERO = PydanticCustomError('leading_zero', 'written without leading zeros')
NO_EFFECT = {'affects_result': False}


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(
        extra='forbid', frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode='before')
    @classmethod
    def _numbers_read_as_numbers(cls, tree: Any) -> Any:
        """Refuse what pydantic would count as a number: true as 1, 010 (8 to others) as 10."""
        issues: list[InitErrorDetails] = []
        if isinstance(tree, dict):
            for name, field in cls.model_fields.items():
                kinds = _kinds_in(field.annotation)
                if name in tree and kinds & {int, float} and bool not in kinds:
                    issues += _no_numbers(tree[name], kinds, (name,))
        if issues:
            raise ValidationError.from_exception_data(cls.__name__, issues)
        return tree


def _kinds_in(annotation: Any) -> set[Any]:
    """Give the types inside an annotation, through Optional, list, tuple and Annotated."""
    if isinstance(annotation, type):
        return {annotation}
    return {kind for part in get_args(annotation) for kind in _kinds_in(part)}


def _no_numbers(
    value: Any, kinds: set[Any], location: tuple[str | int, ...]
) -> list[InitErrorDetails]:
    if isinstance(value, (list, tuple)):
        return [
            issue
            for index, each in enumerate(value)
            for issue in _no_numbers(each, kinds, (*location, index))
        ]
    if isinstance(value, bool):
        kind = 'float_type' if float in kinds else 'int_type'
        return [InitErrorDetails(type=kind, loc=location, input=value)]
    if isinstance(value, str) and str not in kinds and re.match(r'[-+]?0[0-9]', value.strip()):
        return [InitErrorDetails(type=LEADING_ZERO, loc=location, input=value)]
    return []


def _by_name(value: Any) -> Any:
    return {'name': value} if isinstance(value, str) else value


BY_NAME = BeforeValidator(_by_name)
"""accepts `rule: swish` as short for `rule: {name: swish}`"""


def tag_of(section: type[Section]) -> str | None:
    """Give the word that chooses a section among those that may stand at a place."""
    for key in ('name', 'type'):
        if key in section.model_fields and section.model_fields[key].default is not None:
            return str(section.model_fields[key].default)
    return None


def sections_in(annotation: Any) -> list[type[Section]]:
    """Section classes inside an annotation, through Optional, list, dict and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]
