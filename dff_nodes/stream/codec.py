# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Items as bytes, and the checks that everything from the network must pass."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.wire import all_finite
from dff_nodes.runs.resolve import UNLABELLED, ResolvedRun
from dff_nodes.stream.item import Item, Kind, Mark

DTYPES = ('uint8', 'float16', 'float32')
"""element types in the order of their numbers in Activations.msg"""

if sys.byteorder != 'little':
    raise ImportError('dff_nodes sends little-endian tensors and runs on such machines only')


class Rejected(ValueError):
    """A message that must change nothing; says what is wrong with it."""


@dataclass
class WireItem:
    """The fields of Activations.msg that carry the item, without ROS."""

    number: int
    kind: int
    mark: int
    checkpoint: bool
    epoch: int
    samples: int
    candidates: int
    shape: list[int]
    dtype: int
    labels: array
    negative_labels: array
    positive: array
    negative: array
    rows: array
    running_scores: array
    edges: array

    @property
    def payload_bytes(self) -> int:
        """Bytes of samples, labels and edges."""
        labels = len(self.labels) + len(self.negative_labels)
        beside = len(self.rows) + len(self.running_scores) + len(self.edges)
        return len(self.positive) + len(self.negative) + 2 * labels + 4 * beside


def encode(item: Item) -> WireItem:
    """Turn an item into bytes; one copy of each tensor."""
    batch = item.batch
    if batch is None:
        batch = Batch(torch.empty(0, dtype=torch.uint8))
    return WireItem(
        number=item.number,
        kind=int(item.kind),
        mark=int(item.mark),
        checkpoint=item.checkpoint,
        epoch=item.epoch,
        samples=batch.samples,
        candidates=batch.candidates,
        shape=list(batch.positive.shape[1:]),
        dtype=DTYPES.index(str(batch.positive.dtype).removeprefix('torch.')),
        labels=_labels_out(batch.labels),
        negative_labels=_labels_out(batch.negative_labels),
        positive=_bytes_out(batch.positive),
        negative=_bytes_out(batch.negative),
        rows=rows_out(batch.rows),
        running_scores=scores_out(batch.running),
        edges=_edges_out(batch.edges),
    )


def _bytes_out(tensor: Tensor | None) -> array:
    out = array('B')
    if tensor is not None and tensor.numel():
        out.frombytes(memoryview(tensor.cpu().contiguous().numpy()).cast('B'))
    return out


def _labels_out(labels: Tensor | None) -> array:
    out = array('H')
    if labels is not None:
        out.frombytes(labels.numpy().astype('<u2').tobytes())
    return out


def rows_out(rows: Tensor | None) -> array:
    """Give positions of samples, int64 [samples], as a message holds them."""
    out = array('I')
    if rows is not None:
        out.frombytes(rows.numpy().astype('<u4').tobytes())
    return out


def scores_out(scores: Tensor | None) -> array:
    """Give class scores, float32 [samples, classes], as a message holds them."""
    out = array('f')
    if scores is not None and scores.numel():
        out.frombytes(memoryview(scores.cpu().contiguous().numpy()).cast('B'))
    return out


def _edges_out(edges: Tensor | None) -> array:
    out = array('I')
    if edges is not None:
        out.frombytes(edges.numpy().astype('<u4').tobytes())
    return out


class ItemDecoder:
    """
    Turns bytes into the items that one layer of one run may receive.

    Everything is checked against the run before it is used: a message that lies about its
    sizes costs no memory, and none reaches a layer with a shape, type, class or value that
    the run does not have.

    :param layer: index of the receiving layer; layer 0 takes images and labels.
    """

    def __init__(self, resolved: ResolvedRun, layer: int) -> None:
        config, facts = resolved.config, resolved.facts
        self.layer = layer
        self.classes = facts.classes
        self.has_readout = config.has_readout
        self.batch_size = resolved.batch_size
        self.nodes, self.edges = facts.nodes, facts.edges
        self.known_nodes = facts.train_samples
        self.evaluation_batch = resolved.evaluation_batch
        shape, self.dtype = resolved.arriving(layer)
        self.shape = list(shape)
        self.row_bytes = resolved.row_bytes(layer)
        self.candidates = 1 if layer == 0 else resolved.candidates
        self.two_streams = config.streams == 2
        self.hybrid = config.hybrid
        self.exits = resolved.has_early_exit and layer > 0
        self.adds_up_scores = resolved.adds_up_scores(layer)

    def decode(self, wire: WireItem) -> Item:
        """Check a message and give its item; raises Rejected and changes nothing otherwise."""
        kind = _one_of(Kind, wire.kind, 'kind')
        mark = _one_of(Mark, wire.mark, 'mark')
        _require((kind == Kind.MARK) == (mark != Mark.NONE), 'mark', mark.name, f'of {kind.name}')
        if kind == Kind.MARK:
            _require(wire.payload_bytes == 0, 'payload of a MARK', wire.payload_bytes, 0)
            return Item(wire.number, kind, wire.epoch, mark=mark, checkpoint=wire.checkpoint)
        self._check_sizes(wire, kind)
        labels = self._labels(wire.labels, 'labels')
        wrong = self._labels(wire.negative_labels, 'negative_labels')
        if wrong is not None:
            same = int((labels == wrong).sum())
            _require(same == 0, 'negative_labels that are true', same, 0)
        parted = self.exits and kind == Kind.EVALUATE
        batch = Batch(
            positive=self._tensor(wire.positive, 'positive'),
            negative=self._tensor(wire.negative, 'negative') if wire.negative else None,
            labels=labels,
            negative_labels=wrong,
            candidates=wire.candidates,
            rows=self._rows(wire) if parted else None,
            running=self._running(wire) if parted and self.adds_up_scores else None,
            edges=self._joined(wire.edges),
        )
        return Item(wire.number, kind, wire.epoch, batch, checkpoint=wire.checkpoint)

    def _check_sizes(self, wire: WireItem, kind: Kind) -> None:
        most = self.evaluation_batch if kind == Kind.EVALUATE else self.batch_size
        parted = self.exits and kind == Kind.EVALUATE
        least = 0 if parted else self.nodes or 1
        _require(least <= wire.samples <= most, 'samples', wire.samples, f'{least} to {most}')
        candidates = self.candidates if kind == Kind.EVALUATE else 1
        _require(wire.candidates == candidates, 'candidates', wire.candidates, candidates)
        _require(list(wire.shape) == self.shape, 'shape', list(wire.shape), self.shape)
        dtype = DTYPES.index(self.dtype)
        _require(wire.dtype == dtype, 'dtype', wire.dtype, f'{dtype} ({self.dtype})')
        _require(kind != Kind.SCORE or self.has_readout, 'kind', 'SCORE', 'none without read-out')
        stream = wire.samples * self.row_bytes
        train = kind == Kind.TRAIN
        shown = self.layer == 0 and not self.hybrid
        pair = train and self.two_streams and not shown
        labelled = kind == Kind.SCORE or (train and (shown or not self.two_streams))
        labelled = labelled or self.nodes > 0
        wrong = train and self.two_streams and shown
        summed = self.classes if parted and self.adds_up_scores else 0
        for name, found, right in (
            ('positive', len(wire.positive), stream * candidates),
            ('negative', len(wire.negative), stream if pair else 0),
            ('labels', len(wire.labels), wire.samples if labelled else 0),
            ('negative_labels', len(wire.negative_labels), wire.samples if wrong else 0),
            ('rows', len(wire.rows), wire.samples if parted else 0),
            ('running_scores', len(wire.running_scores), wire.samples * summed),
            ('edges', len(wire.edges), 2 * self.edges),
        ):
            _require(found == right, f'length of {name}', found, right)

    def _tensor(self, data: array, name: str) -> Tensor:
        """View the bytes as rows; the layer copies them once into memory of its own."""
        if not len(data):
            return torch.empty((0, *self.shape), dtype=getattr(torch, self.dtype))
        tensor = torch.frombuffer(data, dtype=getattr(torch, self.dtype)).view(-1, *self.shape)
        _require(all_finite(tensor), f'values of {name}', 'not finite', 'finite')
        return tensor

    def _rows(self, wire: WireItem) -> Tensor:
        return check_rows(wire.rows, wire.samples, self.evaluation_batch)

    def _running(self, wire: WireItem) -> Tensor:
        return _scores(wire.running_scores, wire.samples, self.classes, 'running_scores')

    def _labels(self, labels: array, name: str) -> Tensor | None:
        if not len(labels):
            return None
        tensor = torch.from_numpy(np.frombuffer(labels, '<u2').astype(np.int64))
        if self.nodes:
            return self._node_labels(tensor, name)
        highest = int(tensor.max())
        _require(highest < self.classes, f'largest of {name}', highest, f'< {self.classes}')
        return tensor

    def _node_labels(self, labels: Tensor, name: str) -> Tensor:
        """Training nodes have a class, two of each at least, and no other node has one."""
        known = labels[labels != UNLABELLED]
        _require(len(known) == self.known_nodes, f'known {name}', len(known), self.known_nodes)
        highest = int(known.max())
        _require(highest < self.classes, f'largest of {name}', highest, f'< {self.classes}')
        fewest = int(known.bincount(minlength=self.classes).min())
        _require(fewest >= 2, f'fewest {name} of a class', fewest, 'at least 2')
        return labels

    def _joined(self, edges: array) -> Tensor | None:
        """Pairs of nodes, each once, lower node first, ascending: int64 [edges, 2]."""
        if not len(edges):
            return None
        pairs = torch.from_numpy(np.frombuffer(edges, '<u4').astype(np.int64)).view(-1, 2)
        highest = int(pairs.max())
        _require(highest < self.nodes, 'largest node of edges', highest, f'< {self.nodes}')
        low, high = pairs.unbind(1)
        _require(bool((low < high).all()), 'first node of an edge', 'not lower', 'lower')
        ascending = bool(((low * self.nodes + high).diff() > 0).all())
        _require(ascending, 'order of edges', 'not ascending', 'ascending')
        return pairs


def check_scores(scores: array, samples: int, classes: int, expected: tuple[int, int]) -> Tensor:
    """
    Check a layer's class scores and give them as a tensor.

    :param scores: float32 values, row-major.
    :param expected: (samples, classes) of the item that was scored, 0 samples if no scores of
        it are awaited: then none are right.
    :returns: float32 [samples, classes].
    :raises Rejected: naming the field.
    """
    _require((samples, classes) == expected, 'samples, classes', (samples, classes), expected)
    _require(samples > 0, 'samples', samples, 'at least 1')
    _require(len(scores) == samples * classes, 'length', len(scores), samples * classes)
    return _scores(scores, samples, classes, 'scores')


def check_answers(
    scores: array, rows: array, samples: int, classes: int, expected: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    Check what a layer answers of an item by early exit: some of its samples, or none.

    :param rows: their positions in the item.
    :param expected: (samples, classes) of the whole item, 0 samples if none is awaited.
    :returns: float32 [samples, classes], int64 [samples].
    :raises Rejected: naming the field.
    """
    of, right = expected
    _require(of > 0, 'samples of the item', of, 'at least 1')
    _require(samples <= of, 'samples', samples, f'at most {of}')
    _require(classes == right, 'classes', classes, right)
    _require(len(scores) == samples * classes, 'length', len(scores), samples * classes)
    return _scores(scores, samples, classes, 'scores'), check_rows(rows, samples, of)


def check_rows(rows: array, samples: int, of: int) -> Tensor:
    """
    Check the positions of samples within an item of so many, and give them as int64 [samples].

    :raises Rejected: if they are not so many, too high, or not each higher than the one before.
    """
    _require(len(rows) == samples, 'length of rows', len(rows), samples)
    if not samples:
        return torch.empty(0, dtype=torch.int64)
    tensor = torch.from_numpy(np.frombuffer(rows, '<u4').astype(np.int64))
    _require(int(tensor[-1]) < of, 'last of rows', int(tensor[-1]), f'< {of}')
    _require(bool((tensor.diff() > 0).all()), 'rows', 'not ascending', 'ascending')
    return tensor


def _scores(scores: array, samples: int, classes: int, name: str) -> Tensor:
    """Copy so many finite scores; their number is right."""
    if not samples:
        return torch.empty((0, classes))
    tensor = torch.frombuffer(scores, dtype=torch.float32).view(samples, classes).clone()
    _require(all_finite(tensor), f'values of {name}', 'not finite', 'finite')
    return tensor


def _one_of(enumeration: type[Kind] | type[Mark], value: int, name: str) -> Kind | Mark:
    try:
        return enumeration(value)
    except ValueError:
        raise Rejected(
            f'{name} {value} is none of {[each.value for each in enumeration]}'
        ) from None


def _require(true: bool, name: str, found: object, right: object) -> None:
    if not true:
        raise Rejected(f'{name} is {found}, {right} is right')
