# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which data a worker of a schedule with chapters trains on."""

from __future__ import annotations

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.shards import shard
from dff_nodes.runs.resolve import ResolvedRun


def worker_dataset(resolved: ResolvedRun, dataset: Dataset, worker: int) -> Dataset:
    """Give the data that a worker trains on: all of it, or its own share."""
    config = resolved.config
    if config.schedule.name != 'federated':
        return dataset
    sizes = [resolved.shard_samples(each) for each in range(config.workers)]
    return shard(dataset, sizes, worker, config.schedule.skew, config.seed)
