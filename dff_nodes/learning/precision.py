# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The precision of matrix products and convolutions.

On its own, as rules of other packages, which are imported with the settings, need it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def arithmetic(precision: torch.dtype, device: torch.device) -> AbstractContextManager[None]:
    """Compute matrix products and convolutions with a precision, as long as it is entered."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)
