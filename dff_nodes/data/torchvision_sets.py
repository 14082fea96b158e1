# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision where torchvision keeps them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from dff_nodes.data.download import DownloadError, download
from dff_nodes.data.facts import KNOWN, DataError, DataFacts
from dff_nodes.data.npz import read_npz
from dff_nodes.data.torchvision_import import import_torchvision

IDX_FILES = (
    'train-images-idx3-ubyte',
    'train-labels-idx1-ubyte',
    't10k-images-idx3-ubyte',
    't10k-labels-idx1-ubyte',
)
CIFAR_FILES = (*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch', 'batches.meta')
# all that torchvision's readers raise on files that are cut short or hold something else
BROKEN_FILE = (
    RuntimeError,
    OSError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    EOFError,
)


@dataclass(frozen=True)
class Source:
    """Where torchvision keeps a data set below its root."""

    loader: str
    """class in torchvision.datasets"""
    folder: str
    files: tuple[str, ...]

    def is_in(self, root: Path) -> bool:
        """Whether all files are there."""
        return all((root / self.folder / file).is_file() for file in self.files)


SOURCES = {
    'mnist': Source('MNIST', 'MNIST/raw', IDX_FILES),
    'fashion_mnist': Source('FashionMNIST', 'FashionMNIST/raw', IDX_FILES),
    'cifar10': Source('CIFAR10', 'cifar-10-batches-py', CIFAR_FILES),
}


def dataset_root(root: str | None) -> Path:
    """Folder of the downloaded data sets: data.root, else $DFF_DATA, else the user's cache."""
    chosen = root or os.environ.get('DFF_DATA') or '~/.cache/dff/datasets'
    return Path(chosen).expanduser().absolute()


def load_torchvision_set(
    name: str, root: Path, may_download: bool
) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Read a data set, downloading it first if it is not there and that is allowed.

    :param name: mnist, fashion_mnist or cifar10; the last also from root/cifar10.npz.
    :return: facts; x_train, x_test uint8 [samples, height, width, channels], y int64 [samples].
    :raises DataError: if it is not there and cannot be fetched, or is damaged.
    """
    packed = root / f'{name}.npz'
    if name == 'cifar10' and packed.is_file():
        facts, arrays = read_npz(packed)
        return _checked(name, packed, facts, arrays)
    source = SOURCES[name]
    if source.is_in(root):
        return _read(name, root)
    if not may_download:
        raise DataError(_missing(name, root, 'data.download is false'))
    torchvision = _import(name)
    try:
        download(getattr(torchvision.datasets, source.loader), source.folder, source.files, root)
    except DownloadError as error:
        raise DataError(_missing(name, root, str(error))) from error
    return _read(name, root)


def _import(name: str) -> ModuleType:
    try:
        return import_torchvision()
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise DataError(
            f'data.dataset {name!r} is read by torchvision, which cannot be imported here '
            f'({type(error).__name__}: {error}). Install the torchvision that belongs to the '
            "installed PyTorch, or use 'digits' or an .npz file, which do not need it"
        ) from error


def _read(name: str, root: Path) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Let torchvision read the files that are in root."""
    source = SOURCES[name]
    loader = getattr(_import(name).datasets, source.loader)
    folder = root / source.folder
    try:
        train, test = loader(str(root), train=True), loader(str(root), train=False)
    except BROKEN_FILE as error:
        raise DataError(
            f'{name} in {folder} is damaged ({type(error).__name__}: {error}). Remove that '
            'folder, then run again to download it anew'
        ) from error
    arrays = {'x_train': _images(train.data), 'y_train': np.asarray(train.targets, np.int64)}
    arrays |= {'x_test': _images(test.data), 'y_test': np.asarray(test.targets, np.int64)}
    return _checked(name, folder, KNOWN[name], arrays)


def _images(data: object) -> np.ndarray:
    """Give [samples, height, width, channels] of an array or tensor that may lack channels."""
    images = np.asarray(data)
    return images[..., None] if images.ndim == 3 else np.ascontiguousarray(images)


def _checked(
    name: str, where: Path, facts: DataFacts, arrays: dict[str, np.ndarray]
) -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Refuse files that hold another data set than the name says."""
    known = KNOWN[name]
    for split, samples in (('train', known.train_samples), ('test', known.test_samples)):
        images, labels = arrays[f'x_{split}'], arrays[f'y_{split}']
        wanted = (samples, *known.input_shape)
        if images.shape != wanted or labels.shape != (samples,) or facts != known:
            raise DataError(
                f'{where} does not hold {name}: its {split} images are {images.dtype} '
                f'{list(images.shape)} with labels {list(labels.shape)} of {facts.classes} '
                f'classes, expected uint8 {list(wanted)} with labels [{samples}] of '
                f'{known.classes}. Move it away, then run again to download {name}'
            )
        if labels.min() < 0 or labels.max() >= known.classes:
            raise DataError(
                f'{where} does not hold {name}: a {split} label is not 0 to {known.classes - 1}. '
                f'Move it away, then run again to download {name}'
            )
    return facts, arrays


def _missing(name: str, root: Path, why: str) -> str:
    """Say what is missing, why it was not fetched, and the ways to get it there."""
    source = SOURCES[name]
    packed = f', or the single file cifar10.npz into {root}' if name == 'cifar10' else ''
    return (
        f'{name} is not in {root}, and {why}. Put {", ".join(source.files)} into '
        f'{root / source.folder}{packed}. On a machine with a network this fetches them: '
        f'python3 -c "from torchvision.datasets import {source.loader}; '
        f"{source.loader}('datasets', download=True)\"; then copy "
        f'datasets/{source.folder} to {root / source.folder}, or point data.root or $DFF_DATA '
        'to where they are'
    )
