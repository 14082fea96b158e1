# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a run must know of its data before any pixel is loaded.

Imports neither torch nor torchvision, and NumPy only to look into an .npz, so that `dff check`
and the layer nodes start at once.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dff_nodes.runs.learning_config import DataConfig


class DataError(ValueError):
    """A data set that cannot be had or is not usable: what, where, and what to do next."""


@dataclass(frozen=True)
class DataFacts:
    """Shape and size of a data set.

    :raises DataError: for facts that no data set can have; they may come from another device.
    """

    input_shape: tuple[int, ...]
    """(height, width, channels) of an image, or (features,)"""
    classes: int
    train_samples: int
    test_samples: int
    scale: float
    """value of a full pixel: 255 for uint8 images, 16 for digits, 1 for float32"""
    dtype: str
    """of the inputs: uint8 or float32"""
    nodes: int = 0
    """of a graph: training nodes, test nodes, and all others; 0 for samples without edges"""
    edges: int = 0
    """of a graph: pairs of nodes that are joined"""

    def __post_init__(self) -> None:
        if len(self.input_shape) not in (1, 3):
            raise DataError(
                'input_shape must be (height, width, channels) or (features,), '
                f'got {self.input_shape}'
            )
        counts = {f'input_shape[{axis}]': size for axis, size in enumerate(self.input_shape)}
        counts |= {name: getattr(self, name) for name in ('train_samples', 'test_samples')}
        for name, count in counts.items():
            _check_count(name, count, 1)
        _check_count('classes', self.classes, 2)
        self._check_graph()
        if self.dtype not in ('uint8', 'float32'):
            raise DataError(f"dtype must be 'uint8' or 'float32', got {self.dtype!r}")
        if not (isinstance(self.scale, float) and 0 < self.scale < math.inf):
            raise DataError(f'scale must be a positive float, got {self.scale!r}')

    def _check_graph(self) -> None:
        """Refuse a graph without edges, with too few nodes, or whose nodes are images."""
        if (self.nodes, self.edges) == (0, 0):
            return
        _check_count('nodes', self.nodes, self.train_samples + self.test_samples)
        _check_count('edges', self.edges, 1)
        if len(self.input_shape) != 1:
            raise DataError(f'input_shape of a graph must be (features,), got {self.input_shape}')

    @property
    def features(self) -> int:
        """Numbers that one sample has."""
        return math.prod(self.input_shape)

    def as_dict(self) -> dict[str, Any]:
        """Give the facts as JSON can hold them."""
        return asdict(self) | {'input_shape': list(self.input_shape)}

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> DataFacts:
        """Read what `as_dict` gave.

        :raises DataError: if it is anything else.
        """
        try:
            return DataFacts(**(tree | {'input_shape': tuple(tree['input_shape'])}))
        except (KeyError, TypeError) as error:
            raise DataError(f'these are not the facts of a data set: {error!r}') from error


def _check_count(name: str, count: Any, least: int) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if type(count) is not int or count < least:
        raise DataError(f'{name} must be a whole number of at least {least}, got {count!r}')


KNOWN = {
    'digits': DataFacts((8, 8, 1), 10, 1437, 360, 16.0, 'uint8'),
    'mnist': DataFacts((28, 28, 1), 10, 60000, 10000, 255.0, 'uint8'),
    'fashion_mnist': DataFacts((28, 28, 1), 10, 60000, 10000, 255.0, 'uint8'),
    'cifar10': DataFacts((32, 32, 3), 10, 50000, 10000, 255.0, 'uint8'),
}

NAMED_CLASSES = 5
"""of those that have no training sample"""


def read_facts(data: DataConfig) -> DataFacts:
    """Give the facts of the data that `load_dataset` would load, without its pixels.

    :raises DataError: if the name is not known, or the .npz or a setting does not fit. That a
        known set is there, and that inputs are finite, shows only when it is loaded.
    """
    path = npz_path(data.dataset)
    if path is None:
        facts = KNOWN[data.dataset]
    else:
        from dff_nodes.data.graph import holds_graph, read_graph_facts  # deferred: imports NumPy
        from dff_nodes.data.npz import read_npz_facts

        if holds_graph(path):
            return read_graph_facts(path, data)
        facts = read_npz_facts(path)
    return with_settings(facts, data)


def data_warnings(data: DataConfig) -> list[str]:
    """Say what of the data is allowed and seldom meant; raises DataError as `read_facts`."""
    path = npz_path(data.dataset)
    if path is None:
        return []
    from dff_nodes.data.graph import holds_graph  # deferred: imports NumPy
    from dff_nodes.data.npz import unseen_classes

    if holds_graph(path) or not (unseen := unseen_classes(path)):
        return []
    some = ', '.join(str(each) for each in unseen[:NAMED_CLASSES])
    more = f' and {len(unseen) - NAMED_CLASSES} more' if len(unseen) > NAMED_CLASSES else ''
    right = 'subtract 1 from labels that begin at 1' if unseen == [0] else 'number classes from 0'
    return [
        f'{path}: array y_train has no sample of class {some}{more}, which is scored all the '
        f'same: {right}, without gaps'
    ]


def is_read_by_torchvision(dataset: str) -> bool:
    """Tell whether torchvision reads a set, as far as its name tells: cifar10.npz needs none."""
    return dataset in KNOWN and dataset != 'digits'


def npz_path(dataset: str) -> Path | None:
    """Give the path that `data.dataset` is, None if it is the name of a known set.

    :raises DataError: if it is neither.
    """
    if dataset in KNOWN:
        return None
    if dataset.endswith('.npz'):
        return Path(dataset).expanduser()
    near = difflib.get_close_matches(dataset.lower(), KNOWN, n=1, cutoff=0.3)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    raise DataError(
        f'data.dataset {dataset!r} is not known: {hint}There are {", ".join(KNOWN)}, '
        'or the path of a file that ends in .npz'
    )


def with_settings(facts: DataFacts, data: DataConfig) -> DataFacts:
    """Give the facts of what is left once the settings of `data` are applied to a whole set.

    :raises DataError: if a setting does not fit the data.
    """
    check_augmentation(facts, Augmentation.of(data))
    held_out = data.validation_samples
    if held_out >= facts.train_samples:
        raise DataError(
            f'data.validation_samples must be at most {facts.train_samples - 1}, so that one of '
            f'the {facts.train_samples} training samples of {data.dataset} is left to train on, '
            f'got {held_out}'
        )
    if not held_out:
        return facts
    return replace(facts, train_samples=facts.train_samples - held_out, test_samples=held_out)


@dataclass(frozen=True)
class Augmentation:
    """What is done to every training image."""

    shift_pixels: int = 0
    """moved by up to so many whole pixels, down or up, right or left"""
    shift_fill: str = 'zero'
    """what is uncovered: zero, edge or reflect"""
    rotate_degrees: float = 0.0
    """turned about their middle by up to this angle, either way"""
    flip: bool = False
    """half of the images are mirrored left to right"""
    cutout_pixels: int = 0
    """side of a square that is set to 0"""

    @staticmethod
    def of(data: DataConfig) -> Augmentation:
        """Take it from the settings of a run."""
        return Augmentation(
            **{each.name: getattr(data, each.name) for each in fields(Augmentation)}
        )


def check_augmentation(facts: DataFacts, augmentation: Augmentation) -> None:
    """Refuse to change what is no image, or to move an image out of sight.

    :raises DataError: naming the field, the value and the limit.
    """
    names = 'shift_pixels', 'rotate_degrees', 'flip', 'cutout_pixels'
    asked = {name: getattr(augmentation, name) for name in names}
    for name, value in asked.items():
        if value and len(facts.input_shape) == 1:
            raise DataError(
                f'data.{name} must be {type(value)()!r} for samples of {facts.features} features, '
                f'which are no images, got {value}; store images as '
                '[samples, height, width, channels]'
            )
    if augmentation.shift_pixels == 0:
        return
    height, width, _ = facts.input_shape
    if augmentation.shift_pixels >= min(height, width):
        raise DataError(
            f'data.shift_pixels must be at most {min(height, width) - 1} for images of '
            f'{height} x {width} pixels, got {augmentation.shift_pixels}'
        )
