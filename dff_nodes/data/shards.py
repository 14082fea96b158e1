# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The training set cut into shares, one for each worker that keeps its data to itself."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Dirichlet

from dff_nodes.data.dataset import Dataset
from dff_nodes.seeds import generator

ROUNDS = 64
"""in which workers take from the classes in turn, so that none is left with what others spurned"""


def shard(
    dataset: Dataset, sizes: list[int], worker: int, skew: float | None, seed: int
) -> Dataset:
    """
    Give the share of one worker; the test set stays whole.

    :param sizes: training samples of each worker, all of them together.
    :param skew: see `shard_samples`.
    """
    samples = shard_samples(dataset.y_train, sizes, dataset.facts.classes, skew, seed)[worker]
    facts = replace(dataset.facts, train_samples=len(samples))
    return Dataset(
        facts,
        dataset.x_train[samples],
        dataset.y_train[samples],
        dataset.x_test,
        dataset.y_test,
    )


def shard_samples(
    labels: Tensor, sizes: list[int], classes: int, skew: float | None, seed: int
) -> list[Tensor]:
    """
    Choose the samples of every worker: each sample belongs to exactly one.

    With a skew, a worker draws from each class by shares from a symmetric Dirichlet distribution
    (Hsu et al. 1909.06335), as long as there are samples of the class left.

    :param labels: int64 [samples].
    :param sizes: samples of each worker, `samples` together.
    :param skew: concentration of the distribution, None to draw without regard to classes.
    :returns: int64 [size] for each worker, in rising order.
    """
    order = torch.randperm(len(labels), generator=generator(seed, 'shards'))
    if skew is None:
        return [part.sort().values for part in order.split(sizes)]
    left = [order[labels[order] == each] for each in range(classes)]
    shares = _shares(len(sizes), classes, skew, seed)
    taken: list[list[Tensor]] = [[] for _ in sizes]
    counts = torch.zeros(len(sizes), classes, dtype=torch.int64)
    for turn in range(1, ROUNDS + 1):
        for worker, size in enumerate(sizes):
            room = torch.tensor([len(each) for each in left])
            more = _more(size * turn // ROUNDS, shares[worker], counts[worker], room)
            for each, count in enumerate(more.tolist()):
                taken[worker].append(left[each][:count])
                left[each] = left[each][count:]
            counts[worker] += more
    return [torch.cat(parts).sort().values for parts in taken]


def _shares(workers: int, classes: int, skew: float, seed: int) -> Tensor:
    """Draw each worker's shares of the classes: float64 [workers, classes]."""
    # Distributions draw from the global generator: its state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, 'skew').initial_seed())
        concentration = torch.full((classes,), float(skew), dtype=torch.float64)
        return Dirichlet(concentration).sample((workers,)).clamp_min(1e-12)


def _more(total: int, shares: Tensor, counts: Tensor, room: Tensor) -> Tensor:
    """
    Choose what a worker takes next, so that its counts follow its shares as far as classes last.

    :param total: samples that it shall have then.
    :param shares: float64 [classes]; `counts` and `room`: int64 [classes], what it has and what
        is left.
    :returns: int64 [classes].
    """
    more = torch.zeros_like(counts)
    while missing := total - int((counts + more).sum()):
        open_shares = shares * (more < room)
        wanted = open_shares / open_shares.sum() * total - (counts + more)
        lacking = torch.where(more < room, wanted.clamp_min(0), 0.0)
        if not lacking.any():
            lacking = open_shares
        ideal = lacking / lacking.sum() * missing
        step = ideal.floor().long()
        if not step.any():
            step[int(ideal.argmax())] = 1
        more = torch.minimum(more + step, room)
    return more
