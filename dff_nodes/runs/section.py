# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What all parts of a configuration share."""

from __future__ import annotations

from typing import Annotated, Any

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
