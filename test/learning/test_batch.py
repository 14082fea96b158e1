# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Samples that are taken out of batches, and put together again."""

from __future__ import annotations

import pytest
import torch

from dff_nodes.learning.batch import Batch, joined, picked

SIZE, UNITS = 6, 5


def batch(samples: int, seed: int, negatives: bool) -> Batch:
    random = torch.Generator().manual_seed(seed)

    def rows() -> torch.Tensor:
        return torch.randint(256, (samples, UNITS), generator=random).to(torch.uint8)

    labels = torch.randint(10, (samples,), generator=random)
    return Batch(rows(), rows() if negatives else None, labels, None)


@pytest.mark.parametrize('sizes', [(SIZE,), (SIZE, SIZE), (SIZE, SIZE, 2)])
@pytest.mark.parametrize('negatives', [True, False])
def test_picked_gives_samples_by_their_place_in_all_batches(
    sizes: tuple[int, ...], negatives: bool
) -> None:
    batches = [batch(samples, seed, negatives) for seed, samples in enumerate(sizes)]
    whole = joined(batches)
    places = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(9))[:5]
    found = picked(batches, places)
    assert torch.equal(found.positive, whole.positive[places])
    assert torch.equal(found.labels, whole.labels[places])
    assert found.negative_labels is None
    if negatives:
        assert torch.equal(found.negative, whole.negative[places])
    else:
        assert found.negative is None
