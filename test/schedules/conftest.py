# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of schedules share: runs on a data set that is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import DataFacts
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import ResolvedRun, resolve

MakeRun = Callable[..., ResolvedRun]
MakeData = Callable[[DataFacts], Dataset]


@pytest.fixture(scope='session')
def made_run() -> MakeRun:
    """Make a run on 3 classes of 3 x 4 pixels; `settings` as of a config file."""

    def make(
        train_samples: int = 20, test_samples: int = 7, shape: Any = (3, 4, 1), **settings: Any
    ) -> ResolvedRun:
        facts = DataFacts(shape, 3, train_samples, test_samples, 255.0, 'uint8')
        return resolve(Config.model_validate(settings), facts)

    return make


@pytest.fixture(scope='session')
def made_data() -> MakeData:
    """Make the samples that some facts describe: a prototype for each class, and noise."""

    def make(facts: DataFacts) -> Dataset:
        random = torch.Generator().manual_seed(0)
        prototypes = torch.randint(0, 200, (facts.classes, *facts.input_shape), generator=random)

        def split(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
            labels = torch.arange(samples) % facts.classes
            noise = torch.randint(0, 50, (samples, *facts.input_shape), generator=random)
            return (prototypes[labels] + noise).to(torch.uint8), labels

        return Dataset(facts, *split(facts.train_samples), *split(facts.test_samples))

    return make
