# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of layers share: a small run, whose settings can be changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.compute import prepare_torch
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import ResolvedRun, resolve

sys.path.insert(0, str(Path(__file__).parent))  # layers_on_digits

MakeRun = Callable[..., ResolvedRun]


@pytest.fixture(scope='session', autouse=True)
def _one_thread() -> None:
    prepare_torch(1, torch.device('cpu'))


@pytest.fixture(scope='session')
def small_run() -> MakeRun:
    """Make a run of two layers on 3 classes of 3 x 4 pixels; settings as of a config file."""

    def make(
        units: int = 16, rule: Any = 'swish', optimizer: Any = 'adam', **sections: Any
    ) -> ResolvedRun:
        layer = {'units': units, 'rule': rule, 'optimizer': optimizer}
        config = Config.model_validate({'network': [layer, layer], **sections})
        samples = 20 * config.training.batch_size
        return resolve(config, DataFacts((3, 4, 1), 3, samples, 12, 255.0, 'uint8'))

    return make


@pytest.fixture
def random() -> torch.Generator:
    """Give a generator of its own to every test."""
    return torch.Generator().manual_seed(1)
