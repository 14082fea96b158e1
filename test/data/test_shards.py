# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Shares of the training set: each sample belongs to one worker, classes as skewed as said."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.data.shards import shard_samples

LABELS = torch.arange(1000) % 10


def sizes_of(samples: int, workers: int) -> list[int]:
    whole, rest = divmod(samples, workers)
    return [whole + (worker < rest) for worker in range(workers)]


@settings(deadline=None, derandomize=True)
@given(
    workers=st.integers(1, 9),
    samples=st.integers(20, 300),
    skew=st.none() | st.floats(0.01, 100),
    seed=st.integers(0, 5),
)
def test_each_sample_belongs_to_one_worker(
    workers: int, samples: int, skew: float | None, seed: int
) -> None:
    labels = torch.randint(10, (samples,), generator=torch.Generator().manual_seed(seed))
    sizes = sizes_of(samples, workers)
    shares = shard_samples(labels, sizes, 10, skew, seed)
    assert [len(each) for each in shares] == sizes
    assert torch.equal(torch.cat(shares).sort().values, torch.arange(samples))


def test_the_seed_decides() -> None:
    first, again, other = (
        shard_samples(LABELS, [500, 500], 10, 0.5, seed)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    shard_samples(LABELS, [500, 500], 10, 0.5, 0)
    assert torch.equal(torch.rand(4), expected)


def test_a_small_concentration_gives_few_classes() -> None:
    def largest(skew: float) -> float:
        """Share of a worker's commonest class, mean over the workers."""
        shares = shard_samples(LABELS, sizes_of(1000, 5), 10, skew, 0)
        counts = [torch.bincount(LABELS[each], minlength=10) for each in shares]
        return sum(float(each.max() / each.sum()) for each in counts) / len(counts)

    assert largest(100.0) < 0.17
    assert largest(0.1) > 0.3
