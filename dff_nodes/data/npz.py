# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own: an .npz file with x_train, y_train, x_test and y_test.

Nothing in it is unpickled, and sizes are checked before anything is allocated.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from dff_nodes.data.facts import DataError, DataFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

ARRAYS = ('x_train', 'y_train', 'x_test', 'y_test')
MOST_CLASSES = 65535
RIGHT_X = (
    'uint8 or float of shape [samples, height, width], [samples, height, width, channels] or '
    '[samples, features]'
)
RIGHT_Y = 'whole numbers 0 to classes - 1 of shape [samples]'
SAVE_AGAIN = 'save it again with numpy.savez'
HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class _Header:
    """What an array in the file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype


def read_npz_facts(path: Path) -> DataFacts:
    """Read headers and labels, not the pixels.

    :raises DataError: naming the file, the array, what was found and what would be right.
    """
    return _read_labels(path)[0]


def read_npz(path: Path) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Read a whole data set.

    :return: its facts; x_train, x_test uint8 or float32 [samples, *input_shape], and y_train,
        y_test int64 [samples].
    :raises DataError: as `read_npz_facts`, and for numbers that are not finite.
    """
    facts, arrays = _read_labels(path)
    with _open(path) as file:
        for name in ('x_train', 'x_test'):
            inputs = _as_inputs(path, name, _read(path, file, name), facts.dtype)
            arrays[name] = inputs.reshape(len(inputs), *facts.input_shape)
    return facts, arrays


def _read_labels(path: Path) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Give the facts, and y_train and y_test int64 [samples]."""
    with _open(path) as file:
        headers = _headers(path, file)
        _check_headers(path, headers)
        labels = {
            name: _as_labels(path, name, _read(path, file, name)) for name in ('y_train', 'y_test')
        }
    return _facts(path, headers, labels), labels


def _wrong(path: Path, name: str, found: str, right: str) -> DataError:
    return DataError(f'{path}: array {name} {found}; right would be {right}')


def _open(path: Path) -> zipfile.ZipFile:
    """Open the file, and say of whatever is wrong with it as a whole what it is."""
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DataError(
            f'data.dataset: there is no file {path} (looked for {path.absolute()})'
        ) from error
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error}); check the path and the disk') from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f'{path} is not a whole .npz file ({error}); {SAVE_AGAIN}') from error


@contextmanager
def _readable(path: Path, name: str) -> Iterator[None]:
    """Say which array is damaged."""
    try:
        yield
    except MemoryError as error:
        raise DataError(
            f'{path}: array {name} does not fit into the memory of this machine; '
            'save fewer samples, or uint8 instead of float'
        ) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(f'{path}: array {name} is damaged ({error}); {SAVE_AGAIN}') from error


def _headers(path: Path, file: zipfile.ZipFile) -> dict[str, _Header]:
    """Read what the four arrays say of themselves."""
    there = [name[:-4] for name in file.namelist() if name.endswith('.npy')]
    headers = {}
    for name in ARRAYS:
        if name not in there:
            raise DataError(
                f'{path}: array {name} is missing; there are {", ".join(there) or "no arrays"}, '
                f'needed are {", ".join(ARRAYS)}'
            )
        with _readable(path, name):
            headers[name] = _header(file, name)
    return headers


def _header(file: zipfile.ZipFile, name: str) -> _Header:
    """Read one header; raises ValueError if less data follows it than it promises."""
    with file.open(f'{name}.npy') as stream:
        shape, dtype = _shape_and_dtype(stream)
        follows = file.getinfo(f'{name}.npy').file_size - stream.tell()
    promised = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and promised != follows:
        raise ValueError(f'its header promises {promised} bytes, there are {follows}')
    return _Header(shape, dtype)


def _shape_and_dtype(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in HEADER_READERS:
        raise ValueError(f'format version {version} is for named fields, not plain numbers')
    shape, _, dtype = HEADER_READERS[version](stream)
    return shape, dtype


def _check_headers(path: Path, headers: dict[str, _Header]) -> None:
    """Check types, dimensions, and that the arrays fit each other."""
    for name, header in headers.items():
        check = _check_inputs if name.startswith('x') else _check_labels
        check(path, name, header)
        if min(header.shape) < 1:
            raise _wrong(path, name, f'is empty, shape {header.shape}', 'at least one sample')
    for split in ('train', 'test'):
        inputs, labels = headers[f'x_{split}'].shape[0], headers[f'y_{split}'].shape[0]
        if inputs != labels:
            found = f'has {labels} labels for the {inputs} samples of x_{split}'
            raise _wrong(path, f'y_{split}', found, 'one label for each sample')
    train, test = headers['x_train'], headers['x_test']
    if train.shape[1:] != test.shape[1:]:
        found = f'has samples of shape {test.shape[1:]}'
        raise _wrong(path, 'x_test', found, f'{train.shape[1:]} as in x_train')
    if _input_dtype(train) != _input_dtype(test):
        raise _wrong(path, 'x_test', f'is {test.dtype}', f'{train.dtype} as x_train')


def _check_inputs(path: Path, name: str, header: _Header) -> None:
    if header.dtype != np.uint8 and header.dtype.kind != 'f':
        raise _wrong(path, name, f'has dtype {header.dtype}', RIGHT_X)
    if len(header.shape) not in (2, 3, 4):
        raise _wrong(path, name, f'has shape {header.shape}', RIGHT_X)


def _check_labels(path: Path, name: str, header: _Header) -> None:
    if header.dtype.kind not in 'iu':
        raise _wrong(
            path, name, f'has dtype {header.dtype}', f'{RIGHT_Y}, for example y.astype("int64")'
        )
    if len(header.shape) != 1:
        raise _wrong(path, name, f'has shape {header.shape}', RIGHT_Y)


def _input_dtype(header: _Header) -> str:
    return 'uint8' if header.dtype == np.uint8 else 'float32'


def _facts(path: Path, headers: dict[str, _Header], labels: dict[str, np.ndarray]) -> DataFacts:
    shape = headers['x_train'].shape
    dtype = _input_dtype(headers['x_train'])
    lowest = min(int(each.min()) for each in labels.values())
    highest = max(int(each.max()) for each in labels.values())
    if lowest == highest:
        found = f'holds one class only, {lowest}, and so does y_test'
        raise _wrong(path, 'y_train', found, 'labels of at least two classes')
    return DataFacts(
        input_shape=(*shape[1:], 1) if len(shape) == 3 else shape[1:],
        classes=highest + 1,
        train_samples=shape[0],
        test_samples=headers['x_test'].shape[0],
        scale=255.0 if dtype == 'uint8' else 1.0,
        dtype=dtype,
    )


def _read(path: Path, file: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array whose header is checked; the zip's checksum is checked on the way."""
    with _readable(path, name), file.open(f'{name}.npy') as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _as_labels(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    """Give labels as int64 [samples], all of them possible classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        first = int(np.argmax(labels < 0))
        raise _wrong(path, name, f'holds {int(labels[first])} at position {first}', RIGHT_Y)
    if high >= MOST_CLASSES:
        found = f'holds {high} at position {int(labels.argmax())}'
        raise _wrong(path, name, found, f'{RIGHT_Y}, of at most {MOST_CLASSES} classes')
    return np.ascontiguousarray(labels, np.int64)


def _as_inputs(path: Path, name: str, inputs: np.ndarray, dtype: str) -> np.ndarray:
    """Give inputs as contiguous uint8, or float32 that is finite."""
    with _readable(path, name), np.errstate(over='ignore'):
        converted = np.ascontiguousarray(inputs, dtype)
        bad = ~np.isfinite(converted) if dtype == 'float32' else np.zeros(1, bool)
    if bad.any():
        first = tuple(int(axis) for axis in np.unravel_index(bad.argmax(), bad.shape))
        found = f'holds {int(bad.sum())} numbers that are not finite, {inputs[first]} at {first}'
        raise _wrong(path, name, found, 'finite and within float32')
    return converted
