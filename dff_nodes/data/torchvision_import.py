# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Imports torchvision also where its compiled operators do not fit the installed PyTorch.

torchvision's wheel is built for CUDA. Beside a CPU build of PyTorch, and on many a Jetson, its
operators do not load, and the import stops at `operator torchvision::nms does not exist`, since
it describes them to PyTorch's compiler. Data sets, transforms and models do not need them: with
the two schemas declared first, the import succeeds, and only calling the operators would fail.
"""

from __future__ import annotations

import sys
from types import ModuleType

import torch

SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[torch.library.Library] = []
"""what is declared lasts as long as the object that declared it"""


def import_torchvision() -> ModuleType:
    """Import torchvision; its datasets, transforms and models are attributes.

    :raises ImportError: or what else torchvision raises, if it is missing or does not fit.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if 'operator torchvision::nms does not exist' not in str(error):
            raise
        _forget_half_import()
        _declare_operators()
        import torchvision
    return torchvision


def _forget_half_import() -> None:
    """Drop the modules that were imported before the first attempt stopped."""
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[name]


def _declare_operators() -> None:
    # FRAGMENT, not DEF: whoever else declares operators in this namespace may go on doing so
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in SCHEMAS:
        library.define(schema)
    _declared.append(library)
