# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A graph of one's own: an .npz file with edges, features, labels, train_mask and test_mask.

Edges join both ways: whatever direction the file gives them, and however often, each pair of
different nodes is joined once. A node is its own neighbour without an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dff_nodes.data.facts import Augmentation, DataError, DataFacts, check_augmentation
from dff_nodes.data.npz_file import (
    Header,
    array_names,
    open_npz,
    read_array,
    read_headers,
    readable,
    wrong,
)
from dff_nodes.runs.resolve import UNLABELLED
from dff_nodes.seeds import generator

if TYPE_CHECKING:
    from zipfile import ZipFile

    from dff_nodes.runs.learning_config import DataConfig

MASKS = ('train_mask', 'test_mask')
VALIDATION = 'val_mask'
ARRAYS = ('edges', 'features', 'labels', *MASKS)
MOST_NODES = 2**31
LEAST_OF_A_CLASS = 2
"""training nodes: one learns from the virtual node of its class as the others make it"""


@dataclass(frozen=True)
class GraphDataset:
    """A graph in memory, whole, as a run trains and tests on it."""

    facts: DataFacts
    features: Tensor
    """float32 [nodes, features]"""
    edges: Tensor
    """int64 [edges, 2]: each pair once, its lower node first, in ascending order"""
    shown: Tensor
    """int64 [nodes]: classes of the training nodes, UNLABELLED for all others; what layers see"""
    train_nodes: Tensor
    """int64 [train_samples], ascending"""
    y_train: Tensor
    """int64 [train_samples]"""
    test_nodes: Tensor
    """int64 [test_samples], ascending"""
    y_test: Tensor
    """int64 [test_samples]"""


@dataclass(frozen=True)
class _Nodes:
    """Which nodes are for what, and their classes."""

    edges: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray


def holds_graph(path: Path) -> bool:
    """Whether a file is meant to hold a graph: by the names of its arrays.

    :raises DataError: if it cannot be read.
    """
    with open_npz(path) as file:
        names = array_names(file)
    return 'x_train' not in names and any(name in names for name in ('edges', *MASKS))


def read_graph_facts(path: Path, data: DataConfig) -> DataFacts:
    """Read everything but the features.

    :raises DataError: naming the file, the array, what was found and what would be right; or the
        setting that does not fit.
    """
    with open_npz(path) as file:
        return _read(path, file, data)[0]


def read_graph(path: Path, data: DataConfig) -> GraphDataset:
    """Read a whole graph.

    :raises DataError: as `read_graph_facts`, and for numbers that are not finite.
    """
    with open_npz(path) as file:
        facts, nodes = _read(path, file, data)
        features = _finite(path, read_array(path, file, 'features'))
    labels = torch.from_numpy(nodes.labels)
    train, test = torch.from_numpy(nodes.train), torch.from_numpy(nodes.test)
    shown = torch.full_like(labels, UNLABELLED)
    shown[train] = labels[train]
    return GraphDataset(
        facts=facts,
        features=torch.from_numpy(features),
        edges=torch.from_numpy(nodes.edges),
        shown=shown,
        train_nodes=train,
        y_train=labels[train],
        test_nodes=test,
        y_test=labels[test],
    )


def _read(path: Path, file: ZipFile, data: DataConfig) -> tuple[DataFacts, _Nodes]:
    names = [*ARRAYS, *([VALIDATION] if VALIDATION in array_names(file) else [])]
    headers = read_headers(path, file, names)
    _check_headers(path, headers)
    count, features = headers['features'].shape
    masks = {name: read_array(path, file, name) for name in names if name.endswith('_mask')}
    _check_masks(path, masks)
    labels = _classes(path, read_array(path, file, 'labels'), masks)
    test = np.flatnonzero(masks['test_mask'])
    if data.validation_samples:
        test = _validation_nodes(path, masks.get(VALIDATION), data.validation_samples)
    edges = _joined(path, read_array(path, file, 'edges'), count)
    nodes = _Nodes(edges, labels, np.flatnonzero(masks['train_mask']), test)
    classes = int(max(labels[mask].max() for mask in masks.values() if mask.any())) + 1
    _check_classes(path, labels[nodes.train], classes)
    facts = DataFacts(
        (features,), classes, len(nodes.train), len(test), 1.0, 'float32', count, len(edges)
    )
    check_augmentation(facts, Augmentation.of(data))
    return facts, nodes


def _check_headers(path: Path, headers: dict[str, Header]) -> None:
    """Check types and dimensions, and that the arrays are of the same nodes."""
    features = headers['features']
    if features.dtype.kind != 'f' or len(features.shape) != 2:
        found = f'has dtype {features.dtype} and shape {features.shape}'
        raise wrong(path, 'features', found, 'float of shape [nodes, features]')
    if min(features.shape) < 1 or features.shape[0] >= MOST_NODES:
        found = f'has shape {features.shape}'
        raise wrong(path, 'features', found, f'1 to {MOST_NODES - 1} nodes of 1 feature or more')
    _check_edges(path, headers['edges'])
    for name, header in headers.items():
        if name in ('features', 'edges'):
            continue
        kinds, right = ('iu', 'whole numbers') if name == 'labels' else ('b', 'bool')
        if header.dtype.kind not in kinds or header.shape != features.shape[:1]:
            found = f'has dtype {header.dtype} and shape {header.shape}'
            raise wrong(path, name, found, f'{right} of shape ({features.shape[0]},), one a node')


def _check_edges(path: Path, header: Header) -> None:
    shape = header.shape
    if header.dtype.kind not in 'iu' or len(shape) != 2 or 2 not in shape:
        found = f'has dtype {header.dtype} and shape {shape}'
        raise wrong(path, 'edges', found, 'whole numbers of shape [edges, 2] or [2, edges]')


def _check_masks(path: Path, masks: dict[str, np.ndarray]) -> None:
    """Training, test and validation nodes must be there, and others than each other."""
    taken = np.zeros_like(masks['train_mask'])
    for name, mask in masks.items():
        if not mask.any() and name in MASKS:
            raise wrong(path, name, 'is False everywhere', 'True for at least one node')
        both = np.flatnonzero(taken & mask)
        if len(both):
            found = f'and another mask are True for the same {len(both)} nodes, first {both[0]}'
            raise wrong(path, name, found, 'each node in one mask at most')
        taken |= mask


def _classes(path: Path, labels: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Give labels as int64 [nodes]; those of nodes in no mask may be anything."""
    for mask in masks.values():
        bad = mask & ((labels < 0) | (labels >= UNLABELLED))
        if bad.any():
            first = int(bad.argmax())
            right = f'0 to {UNLABELLED - 1} for nodes in a mask'
            raise wrong(path, 'labels', f'holds {labels[first]} at position {first}', right)
    return labels.astype(np.int64)


def _check_classes(path: Path, labels: np.ndarray, classes: int) -> None:
    """Every class needs training nodes, and there must be two classes to tell apart."""
    counts = np.bincount(labels, minlength=classes)
    if classes < 2:
        raise wrong(path, 'labels', 'holds one class only', 'labels of at least two classes')
    if counts.min() < LEAST_OF_A_CLASS:
        found = f'has {counts.min()} training nodes of class {counts.argmin()}'
        raise wrong(path, 'train_mask', found, f'at least {LEAST_OF_A_CLASS} of every class')


def _validation_nodes(path: Path, mask: np.ndarray | None, count: int) -> np.ndarray:
    """Draw the nodes that take the place of the test nodes; the same ones for every seed."""
    there = np.flatnonzero(mask) if mask is not None else np.empty(0, np.int64)
    if count > len(there):
        raise DataError(
            f'data.validation_samples must be at most the {len(there)} nodes of {VALIDATION} in '
            f'{path}, got {count}'
        )
    drawn = torch.randperm(len(there), generator=generator(0, 'validation'))[:count]
    return np.sort(there[drawn.numpy()])


def _joined(path: Path, edges: np.ndarray, nodes: int) -> np.ndarray:
    """Give each pair of different nodes once, lower node first, ascending: int64 [edges, 2]."""
    pairs = edges if edges.shape[1] == 2 else edges.T
    if pairs.size and (pairs.min() < 0 or pairs.max() >= nodes):
        at = int(((pairs < 0) | (pairs >= nodes)).any(1).argmax())
        found = f'joins nodes {pairs[at, 0]} and {pairs[at, 1]} at position {at}'
        raise wrong(path, 'edges', found, f'nodes 0 to {nodes - 1}, the rows of features')
    low, high = (each.astype(np.int64) for each in (pairs.min(1), pairs.max(1)))
    keys = np.unique((low * nodes + high)[low != high])
    if not len(keys):
        raise wrong(path, 'edges', 'joins no two nodes', 'at least one edge between two nodes')
    return np.stack((keys // nodes, keys % nodes), 1)


def _finite(path: Path, features: np.ndarray) -> np.ndarray:
    """Give features as contiguous float32."""
    with readable(path, 'features'), np.errstate(over='ignore'):
        converted = np.ascontiguousarray(features, np.float32)
        bad = ~np.isfinite(converted)
    if bad.any():
        node, feature = (int(axis) for axis in np.unravel_index(bad.argmax(), bad.shape))
        found = f'holds {int(bad.sum())} numbers that are not finite, the first of node {node}'
        raise wrong(path, 'features', f'{found}, feature {feature}', 'finite and within float32')
    return converted
