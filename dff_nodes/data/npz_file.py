# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Arrays of an .npz file: what they say of themselves, and what they hold.

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

from dff_nodes.data.facts import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAVE_AGAIN = 'save it again with numpy.savez'
HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """What an array in the file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype


def wrong(path: Path, name: str, found: str, right: str) -> DataError:
    """Make the error of an array that is not as it should be."""
    return DataError(f'{path}: array {name} {found}; right would be {right}')


def open_npz(path: Path) -> zipfile.ZipFile:
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
def readable(path: Path, name: str) -> Iterator[None]:
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


def array_names(file: zipfile.ZipFile) -> list[str]:
    """Name the arrays of a file."""
    return [name[:-4] for name in file.namelist() if name.endswith('.npy')]


def read_headers(path: Path, file: zipfile.ZipFile, names: Sequence[str]) -> dict[str, Header]:
    """Read what some arrays say of themselves.

    :raises DataError: naming the first that is missing or damaged.
    """
    there = array_names(file)
    headers = {}
    for name in names:
        if name not in there:
            raise DataError(
                f'{path}: array {name} is missing; there are {", ".join(there) or "no arrays"}, '
                f'needed are {", ".join(names)}'
            )
        with readable(path, name):
            headers[name] = _header(file, name)
    return headers


def _header(file: zipfile.ZipFile, name: str) -> Header:
    """Read one header; raises ValueError if less data follows it than it promises."""
    with file.open(f'{name}.npy') as stream:
        shape, dtype = _shape_and_dtype(stream)
        follows = file.getinfo(f'{name}.npy').file_size - stream.tell()
    promised = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and promised != follows:
        raise ValueError(f'its header promises {promised} bytes, there are {follows}')
    return Header(shape, dtype)


def _shape_and_dtype(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in HEADER_READERS:
        raise ValueError(f'format version {version} is for named fields, not plain numbers')
    shape, _, dtype = HEADER_READERS[version](stream)
    return shape, dtype


def read_array(path: Path, file: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array whose header is checked; the zip's checksum is checked on the way."""
    with readable(path, name), file.open(f'{name}.npy') as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
