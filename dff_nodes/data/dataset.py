# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A data set in memory, whole, as a run trains and tests on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dff_nodes.data.digits import load_digits
from dff_nodes.data.facts import DataError, DataFacts, npz_path, read_facts, with_settings
from dff_nodes.data.graph import GraphDataset, holds_graph, read_graph
from dff_nodes.data.npz import read_npz
from dff_nodes.data.torchvision_sets import dataset_root, load_torchvision_set
from dff_nodes.seeds import generator

if TYPE_CHECKING:
    from dff_nodes.runs.learning_config import DataConfig

__all__ = [
    'DataError',
    'DataFacts',
    'Dataset',
    'GraphDataset',
    'data_sha256',
    'load_dataset',
    'read_facts',
    'tensors_sha256',
]


@dataclass(frozen=True)
class Dataset:
    """Inputs and labels; x as in the facts, not scaled."""

    facts: DataFacts
    x_train: Tensor
    """uint8 or float32 [train_samples, *input_shape]"""
    y_train: Tensor
    """int64 [train_samples]"""
    x_test: Tensor
    """uint8 or float32 [test_samples, *input_shape]"""
    y_test: Tensor
    """int64 [test_samples]"""


def load_dataset(data: DataConfig, seed: int = 0) -> Dataset | GraphDataset:
    """Load what `data` describes; its facts are those of `read_facts`.

    :param seed: of the run. It decides nothing here: data, and the validation samples drawn out
        of the training set, are the same for every run, so that runs can be compared.
    :raises DataError: if the data cannot be had, or does not fit the settings.
    """
    path = npz_path(data.dataset)
    if path is not None and holds_graph(path):
        return read_graph(path, data)
    facts, arrays = _load(data)
    left = with_settings(facts, data)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if data.validation_samples:
        tensors = _hold_out(tensors, data.validation_samples)
    return Dataset(left, **tensors)


def _load(data: DataConfig) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Load the whole set."""
    path = npz_path(data.dataset)
    if path is not None:
        return read_npz(path)
    if data.dataset == 'digits':
        return load_digits()
    return load_torchvision_set(data.dataset, dataset_root(data.root), data.download)


def _hold_out(tensors: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Put `count` training samples in the place of the test set.

    Both parts keep the order of the set. A larger count holds out the same samples and more.
    """
    x_train, y_train = tensors['x_train'], tensors['y_train']
    drawn = torch.randperm(len(y_train), generator=generator(0, 'validation'))[:count]
    held = torch.zeros(len(y_train), dtype=torch.bool)
    held[drawn] = True
    return {
        'x_train': x_train[~held],
        'y_train': y_train[~held],
        'x_test': x_train[held],
        'y_test': y_train[held],
    }


def data_sha256(dataset: Dataset | GraphDataset) -> str:
    """Digest of all that a run trains and tests on."""
    each = (getattr(dataset, field.name) for field in fields(dataset))
    return tensors_sha256(value for value in each if isinstance(value, Tensor))


def tensors_sha256(tensors: Iterable[Tensor]) -> str:
    """Digest of types, shapes and numbers."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f'{tensor.dtype}{list(tensor.shape)}'.encode())
        digest.update(memoryview(tensor.contiguous().numpy()).cast('B'))
    return digest.hexdigest()
