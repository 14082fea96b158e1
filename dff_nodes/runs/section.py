# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What all parts of a configuration share."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
NO_EFFECT = {'affects_result': False}


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(
        extra='forbid', frozen=True, validate_default=True, allow_inf_nan=False
    )


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
