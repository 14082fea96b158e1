# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which data a worker of a schedule with chapters trains on."""

from __future__ import annotations

from torch import Tensor

from dff_nodes.data.dataset import Dataset, tensors_sha256
from dff_nodes.data.shards import shard
from dff_nodes.runs.resolve import ResolvedRun


def worker_dataset(resolved: ResolvedRun, dataset: Dataset, worker: int) -> Dataset:
    """Give the data that a worker trains on: all of it, or its own share."""
    config = resolved.config
    if config.schedule.name != 'federated':
        return dataset
    sizes = [resolved.shard_samples(each) for each in range(config.workers)]
    return shard(dataset, sizes, worker, config.schedule.skew, config.seed)


def training_sha256(dataset: Dataset) -> str:
    """Digest of what is trained on: workers with other data would make other layers."""
    return tensors_sha256((dataset.x_train, dataset.y_train))


def as_part(dataset: Dataset) -> dict[str, Tensor]:
    """Give a training set as it travels to workers that have none."""
    return {'x_train': dataset.x_train, 'y_train': dataset.y_train}


def from_part(resolved: ResolvedRun, tensors: dict[str, Tensor]) -> Dataset:
    """
    Give the training set that came; its test set is empty, as workers need none.

    :raises ValueError: if it is not that of the run's facts.
    """
    facts = resolved.facts
    if tensors.keys() != {'x_train', 'y_train'}:
        raise ValueError(f'a training set has x_train and y_train, got {sorted(tensors)}')
    x_train, y_train = tensors['x_train'], tensors['y_train']
    found = (tuple(x_train.shape), str(x_train.dtype), tuple(y_train.shape))
    right = (
        (facts.train_samples, *facts.input_shape),
        f'torch.{facts.dtype}',
        (facts.train_samples,),
    )
    if found != right:
        raise ValueError(f'the training set that came has {found}, {right} is right')
    return Dataset(facts, x_train, y_train, x_train[:0], y_train[:0])
