# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Activities in the element type that travels, the same over ROS 2 and in one process."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 16
"""uint8 counts sixteenths: activities of root mean square 1 reach from 0 to 15.94"""


def to_wire(activity: Tensor, dtype: torch.dtype) -> Tensor:
    """
    Round activities to an element type of the wire.

    :param activity: float32 [rows, units], not negative, of root mean square 1 in each row.
    :param dtype: float32, float16, or uint8: whole sixteenths, larger ones cut at 255 of them.
    """
    if dtype != torch.uint8:
        return activity.to(dtype)
    return (activity * STEPS).round_().clamp_(max=255).to(dtype)


def from_wire(received: Tensor, out: Tensor) -> None:
    """
    Copy what arrived into float32.

    :param received: what `to_wire` gave.
    :param out: float32 of the same shape.
    """
    out.copy_(received)
    if received.dtype == torch.uint8:
        out.mul_(1 / STEPS)


def all_finite(tensor: Tensor) -> bool:
    """Whether no number is infinite or NaN; whole numbers always are."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # NaN is both the least and the largest. One pass, and unlike a sum it does not overflow.
    return all(bound.isfinite() for bound in torch.aminmax(tensor))
