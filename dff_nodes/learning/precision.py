# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The precision of matrix products and convolutions.

On its own, as rules of other packages, which are imported with the settings, need it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def arithmetic(precision: torch.dtype, device: torch.device) -> AbstractContextManager[None]:
    """Compute matrix products and convolutions with a precision, as long as it is entered."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


def entered_precision(x: Tensor) -> torch.dtype:
    """Give what products of a tensor are computed in here: as entered, else its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
