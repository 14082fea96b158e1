# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own: an .npz file with x_train, y_train, x_test and y_test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dff_nodes.data.facts import DataFacts
from dff_nodes.data.npz_file import Header, open_npz, read_array, read_headers, readable, wrong

ARRAYS = ('x_train', 'y_train', 'x_test', 'y_test')
MOST_CLASSES = 65535
RIGHT_X = (
    'uint8 or float of shape [samples, height, width], [samples, height, width, channels] or '
    '[samples, features]'
)
RIGHT_Y = 'whole numbers 0 to classes - 1 of shape [samples]'


def read_npz_facts(path: Path) -> DataFacts:
    """Read headers and labels, not the pixels.

    :raises DataError: naming the file, the array, what was found and what would be right.
    """
    return _read_labels(path)[0]


def unseen_classes(path: Path) -> list[int]:
    """Give the classes that have no training sample; raises DataError as `read_npz_facts`."""
    facts, labels = _read_labels(path)
    counts = np.bincount(labels['y_train'], minlength=facts.classes)
    return np.flatnonzero(counts == 0).tolist()


def read_npz(path: Path) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Read a whole data set.

    :return: its facts; x_train, x_test uint8 or float32 [samples, *input_shape], and y_train,
        y_test int64 [samples].
    :raises DataError: as `read_npz_facts`, and for numbers that are not finite.
    """
    facts, arrays = _read_labels(path)
    with open_npz(path) as file:
        for name in ('x_train', 'x_test'):
            inputs = _as_inputs(path, name, read_array(path, file, name), facts.dtype)
            arrays[name] = inputs.reshape(len(inputs), *facts.input_shape)
    return facts, arrays


def _read_labels(path: Path) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Give the facts, and y_train and y_test int64 [samples]."""
    with open_npz(path) as file:
        headers = read_headers(path, file, ARRAYS)
        _check_headers(path, headers)
        labels = {
            name: _as_labels(path, name, read_array(path, file, name))
            for name in ('y_train', 'y_test')
        }
    return _facts(path, headers, labels), labels


def _check_headers(path: Path, headers: dict[str, Header]) -> None:
    """Check types, dimensions, and that the arrays fit each other."""
    for name, header in headers.items():
        check = _check_inputs if name.startswith('x') else _check_labels
        check(path, name, header)
        if min(header.shape) < 1:
            raise wrong(path, name, f'is empty, shape {header.shape}', 'at least one sample')
    for split in ('train', 'test'):
        inputs, labels = headers[f'x_{split}'].shape[0], headers[f'y_{split}'].shape[0]
        if inputs != labels:
            found = f'has {labels} labels for the {inputs} samples of x_{split}'
            raise wrong(path, f'y_{split}', found, 'one label for each sample')
    train, test = headers['x_train'], headers['x_test']
    if train.shape[1:] != test.shape[1:]:
        found = f'has samples of shape {test.shape[1:]}'
        raise wrong(path, 'x_test', found, f'{train.shape[1:]} as in x_train')
    if _input_dtype(train) != _input_dtype(test):
        raise wrong(path, 'x_test', f'is {test.dtype}', f'{train.dtype} as x_train')


def _check_inputs(path: Path, name: str, header: Header) -> None:
    if header.dtype != np.uint8 and header.dtype.kind != 'f':
        raise wrong(path, name, f'has dtype {header.dtype}', RIGHT_X)
    if len(header.shape) not in (2, 3, 4):
        raise wrong(path, name, f'has shape {header.shape}', RIGHT_X)


def _check_labels(path: Path, name: str, header: Header) -> None:
    if header.dtype.kind not in 'iu':
        raise wrong(
            path, name, f'has dtype {header.dtype}', f'{RIGHT_Y}, for example y.astype("int64")'
        )
    if len(header.shape) != 1:
        raise wrong(path, name, f'has shape {header.shape}', RIGHT_Y)


def _input_dtype(header: Header) -> str:
    return 'uint8' if header.dtype == np.uint8 else 'float32'


def _facts(path: Path, headers: dict[str, Header], labels: dict[str, np.ndarray]) -> DataFacts:
    shape = headers['x_train'].shape
    dtype = _input_dtype(headers['x_train'])
    lowest = min(int(each.min()) for each in labels.values())
    highest = max(int(each.max()) for each in labels.values())
    if lowest == highest:
        found = f'holds one class only, {lowest}, and so does y_test'
        raise wrong(path, 'y_train', found, 'labels of at least two classes')
    return DataFacts(
        input_shape=(*shape[1:], 1) if len(shape) == 3 else shape[1:],
        classes=highest + 1,
        train_samples=shape[0],
        test_samples=headers['x_test'].shape[0],
        scale=255.0 if dtype == 'uint8' else 1.0,
        dtype=dtype,
    )


def _as_labels(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    """Give labels as int64 [samples], all of them possible classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        first = int(np.argmax(labels < 0))
        raise wrong(path, name, f'holds {int(labels[first])} at position {first}', RIGHT_Y)
    if high >= MOST_CLASSES:
        found = f'holds {high} at position {int(labels.argmax())}'
        raise wrong(path, name, found, f'{RIGHT_Y}, of at most {MOST_CLASSES} classes')
    return np.ascontiguousarray(labels, np.int64)


def _as_inputs(path: Path, name: str, inputs: np.ndarray, dtype: str) -> np.ndarray:
    """Give inputs as contiguous uint8, or float32 that is finite."""
    with readable(path, name), np.errstate(over='ignore'):
        converted = np.ascontiguousarray(inputs, dtype)
        bad = ~np.isfinite(converted) if dtype == 'float32' else np.zeros(1, bool)
    if bad.any():
        first = tuple(int(axis) for axis in np.unravel_index(bad.argmax(), bad.shape))
        found = f'holds {int(bad.sum())} numbers that are not finite, {inputs[first]} at {first}'
        raise wrong(path, name, found, 'finite and within float32')
    return converted
