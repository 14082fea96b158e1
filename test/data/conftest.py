# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the data room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='session')
def arrays() -> Callable[..., Arrays]:
    """Make a valid data set: 6 training and 4 test samples of 3 classes, images 5 x 4."""

    def make(**changes: np.ndarray | None) -> Arrays:
        random = np.random.default_rng(0)
        whole = {
            'x_train': random.integers(0, 256, (6, 5, 4)).astype(np.uint8),
            'y_train': np.array([0, 1, 2, 0, 1, 2]),
            'x_test': random.integers(0, 256, (4, 5, 4)).astype(np.uint8),
            'y_test': np.array([2, 1, 0, 0]),
        } | changes
        return {name: array for name, array in whole.items() if array is not None}

    return make


@pytest.fixture(scope='session')
def save(
    tmp_path_factory: pytest.TempPathFactory, arrays: Callable[..., Arrays]
) -> Callable[..., Path]:
    """Save a valid data set with some arrays changed, or left out (None)."""
    path = tmp_path_factory.mktemp('npz') / 'own.npz'

    def write(**changes: np.ndarray | None) -> Path:
        np.savez(path, **arrays(**changes))
        return path

    return write
