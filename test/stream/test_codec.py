# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Items as bytes and back, and a decoder that nothing from the network may surprise."""

from __future__ import annotations

import copy
import math
import resource
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dff_nodes.data.facts import DataFacts
from dff_nodes.learning.batch import Batch
from dff_nodes.runs.config import Config
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.stream.codec import (
    ItemDecoder,
    Rejected,
    WireItem,
    check_answers,
    check_rows,
    check_scores,
    encode,
)
from dff_nodes.stream.item import Item, Kind, Mark

BATCH = 4
CLASSES = 3
SHAPE = (2, 3, 2)
UNITS = 6
ROOM_BYTES = 1 << 28
"""how much a decoder may add to this process; what messages claim is far more"""


@cache
def a_run(inputs: str, wire: str, readout: bool, layers: str = '') -> ResolvedRun:
    """Make a run of two layers; with an early exit where it says whose scores count."""
    config = Config.model_validate(
        {
            'network': [{'units': UNITS}, {'units': 4}],
            'training': {'batch_size': BATCH},
            'stream': {'dtype': wire},
            'classification': {'mode': 'one_pass' if readout else 'goodness'}
            | ({'layers': layers} if layers else {}),
            'early_exit': {'thresholds': [0.5] if layers else None},
        }
    )
    return resolve(config, DataFacts(SHAPE, CLASSES, 20, 8, 255.0, inputs))


RUNS = [
    (inputs, wire, readout)
    for inputs in ('uint8', 'float32')
    for wire in ('uint8', 'float16', 'float32')
    for readout in (False, True)
]
EARLY = [('uint8', 'float16', True, 'all'), ('uint8', 'float32', True, 'last')]
"""runs with an early exit; batches of one pass have room for several samples"""


def values(dtype: str, *shape: int, seed: int) -> Tensor:
    """Draw finite values, among them those at the edges of the type."""
    random = torch.Generator().manual_seed(seed)
    if dtype == 'uint8':
        return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    type_of = getattr(torch, dtype)
    drawn = torch.randn(shape, generator=random).to(type_of)
    info = torch.finfo(type_of)
    edges = torch.tensor([-0.0, info.max, -info.max, info.tiny, info.smallest_normal / 2])
    flat = drawn.view(-1)
    flat[: min(len(flat), 5)] = edges[: len(flat)].to(type_of)
    return drawn


def an_item(run: ResolvedRun, layer: int, kind: Kind, samples: int, seed: int = 0) -> Item:
    """Make an item as a layer of a run may receive it."""
    if kind is Kind.MARK:
        return Item(7, kind, 2, mark=Mark.END_OF_EPOCH, checkpoint=True)
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (samples,), generator=random)
    wrong = (labels + 1) % CLASSES
    if layer == 0:
        images = values(run.facts.dtype, samples, *SHAPE, seed=seed)
        batch = {
            Kind.TRAIN: Batch(images, labels=labels, negative_labels=wrong),
            Kind.SCORE: Batch(images, labels=labels),
            Kind.EVALUATE: Batch(images),
        }[kind]
        return Item(7, kind, 2, batch)
    dtype = run.config.stream.dtype
    candidates = run.candidates if kind is Kind.EVALUATE else 1
    rows = values(dtype, samples * candidates, UNITS, seed=seed)
    negative = values(dtype, samples, UNITS, seed=seed + 1) if kind is Kind.TRAIN else None
    batch = Batch(rows, negative, labels if kind is Kind.SCORE else None, candidates=candidates)
    if run.has_early_exit and kind is Kind.EVALUATE:
        places = torch.randperm(run.evaluation_batch, generator=random)[:samples].sort().values
        running = values('float32', samples, CLASSES, seed=seed + 2)
        sums = run.adds_up_scores(layer)
        batch = replace(batch, rows=places, running=running if sums else None)
    return Item(7, kind, 2, batch)


def possible(run: ResolvedRun, kind: Kind) -> bool:
    return kind is not Kind.SCORE or run.config.has_readout


def most_samples(run: ResolvedRun, kind: Kind) -> int:
    return run.evaluation_batch if kind is Kind.EVALUATE else BATCH


def least_samples(run: ResolvedRun, layer: int, kind: Kind) -> int:
    """All samples may have been answered before."""
    return 0 if run.has_early_exit and layer > 0 and kind is Kind.EVALUATE else 1


def same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


def same_items(one: Item, other: Item) -> bool:
    for field in fields(Item):
        if field.name != 'batch' and getattr(one, field.name) != getattr(other, field.name):
            return False
    if one.batch is None or other.batch is None:
        return one.batch is other.batch
    tensors = ('positive', 'negative', 'labels', 'negative_labels', 'rows', 'running', 'edges')
    return one.batch.candidates == other.batch.candidates and all(
        same_bits(getattr(one.batch, name), getattr(other.batch, name)) for name in tensors
    )


def through_ros(wire: WireItem) -> WireItem:
    """Give what a subscriber gets: arrays of their own, the shape as array of uint32."""

    def copied(data: array) -> array:
        received = array(data.typecode)
        received.frombytes(data.tobytes())
        return received

    return replace(
        wire,
        shape=array('I', wire.shape),
        labels=copied(wire.labels),
        negative_labels=copied(wire.negative_labels),
        positive=copied(wire.positive),
        negative=copied(wire.negative),
        rows=copied(wire.rows),
        running_scores=copied(wire.running_scores),
        edges=copied(wire.edges),
    )


# ---- there and back ------------------------------------------------------------------------


@pytest.mark.parametrize('layer', [0, 1])
@pytest.mark.parametrize(
    ('run', 'kind'),
    [(run, kind) for run in [*RUNS, *EARLY] for kind in Kind if possible(a_run(*run), kind)],
    ids=str,
)
def test_an_item_comes_back_bit_for_bit(
    run: tuple[str, str, bool], kind: Kind, layer: int
) -> None:
    resolved = a_run(*run)
    decoder = ItemDecoder(resolved, layer)
    for samples in {least_samples(resolved, layer, kind), 1, 2, most_samples(resolved, kind)}:
        item = an_item(resolved, layer, kind, samples)
        assert same_items(decoder.decode(through_ros(encode(item))), item)


def test_the_arrays_are_those_of_ros_messages() -> None:
    wire = encode(an_item(a_run('uint8', 'float16', True), 0, Kind.TRAIN, 2))
    assert [each.typecode for each in (wire.positive, wire.negative)] == ['B', 'B']
    assert [each.typecode for each in (wire.labels, wire.negative_labels)] == ['H', 'H']
    assert all(type(size) is int for size in wire.shape)
    pixels = 2 * math.prod(SHAPE)
    assert len(wire.positive) == pixels
    assert wire.payload_bytes == pixels + 2 * 2 * 2


def test_numbers_are_little_endian() -> None:
    rows = torch.tensor([[1.0, -2.0, 0, 0, 0, 0]], dtype=torch.float16)
    wire = encode(Item(0, Kind.EVALUATE, 0, Batch(rows)))
    assert wire.positive[:4].tobytes() == bytes([0x00, 0x3C, 0x00, 0xC0])


def test_views_are_sent_as_what_they_show() -> None:
    whole = torch.arange(48, dtype=torch.float32).view(4, 12)
    item = Item(0, Kind.EVALUATE, 0, Batch(whole[::2, ::2]))
    assert array('f', encode(item).positive.tobytes()).tolist() == [
        *range(0, 12, 2),
        *range(24, 36, 2),
    ]


@pytest.mark.parametrize('mark', [Mark.END_OF_EPOCH, Mark.END_OF_RUN])
@pytest.mark.parametrize('checkpoint', [False, True])
def test_marks_keep_what_they_say(mark: Mark, checkpoint: bool) -> None:
    item = Item(2**40, Kind.MARK, 99, mark=mark, checkpoint=checkpoint)
    wire = encode(item)
    assert wire.payload_bytes == 0
    assert ItemDecoder(a_run('uint8', 'float32', False), 1).decode(wire) == item


# ---- what must be refused ------------------------------------------------------------------


def cut(data: array, count: int) -> array:
    return data[: len(data) - count]


def with_value(data: array, index: int, value: float, dtype: str) -> array:
    """Put one number into the bytes of a tensor."""
    size = 2 if dtype == 'float16' else 4
    changed = array('B', data)
    number = torch.tensor([value], dtype=getattr(torch, dtype)).numpy().tobytes()
    changed[index * size : (index + 1) * size] = array('B', number)
    return changed


REFUSED = {
    'unknown kind': (0, Kind.TRAIN, {'kind': 4}, 'kind 4'),
    'unknown mark': (0, Kind.MARK, {'mark': 3}, 'mark 3'),
    'mark without kind': (0, Kind.TRAIN, {'mark': 1}, 'mark is END_OF_EPOCH'),
    'kind without mark': (0, Kind.MARK, {'mark': 0}, 'mark is NONE'),
    'mark with payload': (0, Kind.MARK, {'positive': array('B', [0])}, 'payload of a MARK is 1'),
    'mark with edges': (0, Kind.MARK, {'edges': array('I', [0, 1])}, 'payload of a MARK is 8'),
    'edges of images': (0, Kind.TRAIN, {'edges': array('I', [0, 1])}, 'length of edges is 2'),
    'mark with labels': (0, Kind.MARK, {'labels': array('H', [0])}, 'payload of a MARK is 2'),
    'no samples': (0, Kind.TRAIN, {'samples': 0}, 'samples is 0'),
    'too many samples': (0, Kind.TRAIN, {'samples': BATCH + 1}, 'samples is 5'),
    'fewer samples': (0, Kind.TRAIN, {'samples': 2}, 'length of positive'),
    'candidates': (1, Kind.TRAIN, {'candidates': 2}, 'candidates is 2'),
    'no candidates': (1, Kind.EVALUATE, {'candidates': 0}, 'candidates is 0'),
    'transposed shape': (0, Kind.TRAIN, {'shape': [3, 2, 2]}, 'shape is'),
    'flat shape': (0, Kind.TRAIN, {'shape': [12]}, 'shape is'),
    'other width': (1, Kind.TRAIN, {'shape': [UNITS + 1]}, 'shape is'),
    'no shape': (1, Kind.TRAIN, {'shape': []}, 'shape is'),
    'other dtype': (1, Kind.TRAIN, {'dtype': 1}, 'dtype is 1'),
    'unknown dtype': (1, Kind.TRAIN, {'dtype': 9}, 'dtype is 9'),
    'no negatives': (1, Kind.TRAIN, {'negative': array('B')}, 'length of negative is 0'),
    'negatives of images': (0, Kind.TRAIN, {'negative': array('B', [1])}, 'length of negative'),
    'no labels': (0, Kind.SCORE, {'labels': array('H')}, 'length of labels is 0'),
    'labels behind layer 0': (1, Kind.TRAIN, {'labels': array('H', [0] * 4)}, 'length of labels'),
    'labels of a test': (0, Kind.EVALUATE, {'labels': array('H', [0] * 4)}, 'length of labels'),
    'no wrong labels': (0, Kind.TRAIN, {'negative_labels': array('H')}, 'negative_labels is 0'),
    'wrong labels': (0, Kind.SCORE, {'negative_labels': array('H', [0] * 4)}, 'negative_labels'),
    'label too high': (0, Kind.SCORE, {'labels': array('H', [0, 0, 0, 3])}, 'labels is 3'),
    'wrong label too high': (
        0,
        Kind.TRAIN,
        {'negative_labels': array('H', [65535, 0, 0, 0])},
        'largest of negative_labels is 65535',
    ),
}


@pytest.mark.parametrize(('layer', 'kind', 'change', 'reason'), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_named(
    layer: int, kind: Kind, change: dict, reason: str
) -> None:
    run = a_run('uint8', 'float32', True)
    decoder = ItemDecoder(run, layer)
    wire = encode(an_item(run, layer, kind, BATCH))
    decoder.decode(wire)
    with pytest.raises(Rejected, match=reason):
        decoder.decode(replace(wire, **change))


def test_scores_are_refused_where_no_readout_trains() -> None:
    wire = encode(an_item(a_run('uint8', 'float32', True), 1, Kind.SCORE, 2))
    with pytest.raises(Rejected, match='without read-out'):
        ItemDecoder(a_run('uint8', 'float32', False), 1).decode(wire)


@pytest.mark.parametrize('count', [-1, 1, UNITS * 2])
@pytest.mark.parametrize('field', ['positive', 'negative'])
def test_one_byte_too_few_or_too_many_is_refused(field: str, count: int) -> None:
    run = a_run('uint8', 'float16', False)
    wire = encode(an_item(run, 1, Kind.TRAIN, BATCH))
    data = getattr(wire, field)
    changed = cut(data, count) if count > 0 else data + array('B', [0])
    with pytest.raises(Rejected, match=f'length of {field}'):
        ItemDecoder(run, 1).decode(replace(wire, **{field: changed}))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('dtype', ['float16', 'float32'])
@pytest.mark.parametrize('field', ['positive', 'negative'])
def test_values_that_are_not_finite_are_refused(field: str, dtype: str, value: float) -> None:
    run = a_run('uint8', dtype, False)
    wire = encode(an_item(run, 1, Kind.TRAIN, BATCH))
    for index in (0, 11, BATCH * UNITS - 1):
        changed = with_value(getattr(wire, field), index, value, dtype)
        with pytest.raises(Rejected, match=f'values of {field} is not finite'):
            ItemDecoder(run, 1).decode(replace(wire, **{field: changed}))


def test_infinities_that_cancel_are_refused_too() -> None:
    run = a_run('float32', 'float32', False)
    images = torch.zeros(2, *SHAPE)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = math.inf, -math.inf
    with pytest.raises(Rejected, match='values of positive'):
        ItemDecoder(run, 0).decode(encode(Item(0, Kind.EVALUATE, 0, Batch(images))))


def test_finite_values_whose_sum_overflows_are_taken() -> None:
    run = a_run('float32', 'float32', False)
    images = torch.full((2, *SHAPE), torch.finfo(torch.float32).max)
    item = Item(0, Kind.EVALUATE, 0, Batch(images))
    assert same_items(ItemDecoder(run, 0).decode(encode(item)), item)


EARLY_REFUSED = {
    'no rows': (1, {'rows': array('I')}, 'length of rows is 0'),
    'more rows': (1, {'rows': array('I', range(5))}, 'length of rows is 5'),
    'row too high': (1, {'rows': array('I', [0, 1, 2, 8])}, 'last of rows is 8, < 8'),
    'huge row': (1, {'rows': array('I', [0, 1, 2, 2**32 - 1])}, 'last of rows is 4294967295'),
    'row twice': (1, {'rows': array('I', [0, 1, 1, 2])}, 'rows is not ascending'),
    'rows descending': (1, {'rows': array('I', [0, 2, 1, 3])}, 'rows is not ascending'),
    'no scores': (1, {'running_scores': array('f')}, 'length of running_scores is 0'),
    'scores not finite': (
        1,
        {'running_scores': array('f', [0.0] * 11 + [math.nan])},
        'values of running_scores is not finite',
    ),
    'rows of the whole item': (0, {'rows': array('I', range(4))}, 'length of rows is 4'),
    'no samples at layer 0': (0, {'samples': 0}, 'samples is 0'),
}


@pytest.mark.parametrize(
    ('layer', 'change', 'reason'), EARLY_REFUSED.values(), ids=list(EARLY_REFUSED)
)
def test_an_item_in_part_that_lies_is_refused(layer: int, change: dict, reason: str) -> None:
    run = a_run(*EARLY[0])
    decoder = ItemDecoder(run, layer)
    wire = encode(an_item(run, layer, Kind.EVALUATE, 4))
    decoder.decode(wire)
    with pytest.raises(Rejected, match=reason):
        decoder.decode(replace(wire, **change))


@pytest.mark.parametrize('field', ['rows', 'running_scores'])
def test_no_item_is_in_part_without_an_early_exit(field: str) -> None:
    run = a_run('uint8', 'float32', True)
    for kind in (Kind.TRAIN, Kind.SCORE, Kind.EVALUATE, Kind.MARK):
        wire = encode(an_item(run, 1, kind, 1))
        more = array('I' if field == 'rows' else 'f', [0])
        with pytest.raises(Rejected, match=f'length of {field}|payload of a MARK'):
            ItemDecoder(run, 1).decode(replace(wire, **{field: more}))


# ---- fuzzing -------------------------------------------------------------------------------


@contextmanager
def little_memory() -> Iterator[None]:
    """Let this process grow by ROOM_BYTES only; more raises MemoryError or RuntimeError."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_memory_is_little_indeed() -> None:
    with little_memory(), pytest.raises((MemoryError, RuntimeError)):
        torch.zeros(2 * ROOM_BYTES, dtype=torch.uint8)


numbers = st.one_of(st.integers(0, 12), st.sampled_from([2**31, 2**32 - 1]))
label_arrays = st.lists(st.one_of(st.integers(0, 3), st.just(65535)), max_size=9).map(
    lambda labels: array('H', labels)
)


@st.composite
def payloads(draw: st.DrawFn, data: array) -> array:
    """Damage bytes: cut off, longer, other bits, or not finite."""
    damage = draw(st.sampled_from(['cut', 'extend', 'flip', 'poison', 'replace']))
    if damage == 'extend':
        return data + array('B', draw(st.binary(min_size=1, max_size=64)))
    if damage == 'replace':
        return array('B', draw(st.binary(max_size=128)))
    if not len(data):
        return array('B', [0])
    at = draw(st.integers(0, len(data) - 1))
    if damage == 'cut':
        return data[:at]
    changed = array('B', data)
    if damage == 'flip':
        changed[at] ^= 1 << draw(st.integers(0, 7))
    else:
        changed[at : at + 4] = array('B', bytes.fromhex('ff7fff7f'))[: len(data) - at]
    return changed


def as_bytes(wire: WireItem) -> WireItem:
    """Make messages comparable that hold what is not a number."""
    return replace(wire, running_scores=wire.running_scores.tobytes())


def damaged(wire: WireItem) -> st.SearchStrategy[WireItem]:
    """Change some fields of a message."""
    return st.fixed_dictionaries(
        {},
        optional={
            'number': st.integers(0, 2**64 - 1),
            'kind': st.one_of(st.integers(0, 4), st.just(255)),
            'mark': st.one_of(st.integers(0, 3), st.just(255)),
            'checkpoint': st.booleans(),
            'epoch': st.sampled_from([0, 2**32 - 1]),
            'samples': numbers,
            'candidates': numbers,
            'shape': st.one_of(
                st.lists(numbers, max_size=8),
                st.sampled_from([list(SHAPE), [UNITS], [2**32 - 1] * 8]),
            ),
            'dtype': st.one_of(st.integers(0, 3), st.just(255)),
            'labels': label_arrays,
            'negative_labels': label_arrays,
            'positive': payloads(wire.positive),
            'negative': payloads(wire.negative),
            'rows': st.lists(numbers, max_size=9).map(lambda rows: array('I', rows)),
            'running_scores': st.lists(st.floats(width=32), max_size=9).map(
                lambda scores: array('f', scores)
            ),
            'edges': st.lists(st.sampled_from([0, 1, 9, 2**32 - 1]), max_size=8).map(
                lambda nodes: array('I', nodes)
            ),
        },
    ).map(lambda changes: replace(wire, **changes))


def one_damage(wire: WireItem) -> st.SearchStrategy[WireItem]:
    """Change one field only, so that what the others guard is not what refuses it."""
    names = [field.name for field in fields(WireItem)]
    return st.tuples(st.sampled_from(names), damaged(wire)).map(
        lambda drawn: replace(wire, **{drawn[0]: getattr(drawn[1], drawn[0])})
    )


@st.composite
def messages(draw: st.DrawFn) -> tuple[ResolvedRun, int, WireItem]:
    """Draw a run, a layer, and a message for it that was valid once."""
    run = a_run(*draw(st.sampled_from([*RUNS, *EARLY])))
    layer = draw(st.integers(0, 1))
    kind = draw(st.sampled_from([kind for kind in Kind if possible(run, kind)]))
    least = least_samples(run, layer, kind)
    samples = draw(st.integers(least, most_samples(run, kind)))
    wire = encode(an_item(run, layer, kind, samples, seed=draw(st.integers(0, 3))))
    return run, layer, draw(st.one_of(damaged(wire), one_damage(wire)))


def check_possible(run: ResolvedRun, layer: int, item: Item) -> None:
    """What a layer relies on, written down again."""
    batch = item.batch
    if item.kind is Kind.MARK:
        assert batch is None
        assert item.mark is not Mark.NONE
        return
    assert item.mark is Mark.NONE
    assert possible(run, item.kind)
    least = least_samples(run, layer, item.kind)
    assert least <= batch.samples <= most_samples(run, item.kind)
    assert (batch.rows is not None) == (least == 0)
    assert (batch.running is not None) == (least == 0 and run.adds_up_scores(layer))
    if batch.rows is not None:
        assert sorted(set(batch.rows.tolist())) == batch.rows.tolist()
        assert all(0 <= row < run.evaluation_batch for row in batch.rows.tolist())
    if batch.running is not None:
        assert batch.running.shape == (batch.samples, CLASSES)
        assert bool(batch.running.isfinite().all())
    shape = SHAPE if layer == 0 else (UNITS,)
    dtype = run.facts.dtype if layer == 0 else run.config.stream.dtype
    trying = layer > 0 and item.kind is Kind.EVALUATE
    assert batch.candidates == (run.candidates if trying else 1)
    assert (batch.negative is not None) == (layer > 0 and item.kind is Kind.TRAIN)
    for tensor in [batch.positive] + ([] if batch.negative is None else [batch.negative]):
        assert tensor.dtype == getattr(torch, dtype)
        assert tuple(tensor.shape[1:]) == shape
        assert bool(torch.isfinite(tensor.float()).all())
    first_trains = layer == 0 and item.kind is Kind.TRAIN
    assert (batch.labels is not None) == (first_trains or item.kind is Kind.SCORE)
    assert (batch.negative_labels is not None) == first_trains
    for labels in (batch.labels, batch.negative_labels):
        if labels is not None:
            assert labels.shape == (batch.samples,)
            assert 0 <= int(labels.min()) <= int(labels.max()) < CLASSES


@settings(deadline=None, derandomize=True, max_examples=600)
@given(messages())
def test_a_damaged_message_is_refused_or_means_what_it_says(
    drawn: tuple[ResolvedRun, int, WireItem],
) -> None:
    run, layer, wire = drawn
    before = copy.deepcopy(wire)
    try:
        with little_memory():
            item = ItemDecoder(run, layer).decode(wire)
    except Rejected as error:
        assert str(error)
        assert as_bytes(wire) == as_bytes(before)
        return
    check_possible(run, layer, item)
    again = encode(item)
    if item.kind is Kind.MARK:
        told = ('number', 'kind', 'mark', 'checkpoint', 'epoch', 'positive', 'labels')
        assert all(getattr(again, name) == getattr(wire, name) for name in told)
    else:
        assert again == wire


# ---- scores --------------------------------------------------------------------------------


def test_scores_come_back_as_a_tensor() -> None:
    scores = array('f', [0.5, -1.5, 2.0, 3.25, 0.0, -0.0])
    tensor = check_scores(scores, 2, 3, (2, 3))
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[0.5, -1.5, 2.0], [3.25, 0.0, -0.0]]
    scores[0] = 99.0
    assert tensor[0, 0] == 0.5, 'it owns its memory'


@pytest.mark.parametrize(
    ('scores', 'samples', 'classes', 'expected', 'reason'),
    [
        ([0.0] * 6, 3, 2, (2, 3), 'samples, classes is'),
        ([0.0] * 5, 2, 3, (2, 3), 'length is 5'),
        ([0.0] * 7, 2, 3, (2, 3), 'length is 7'),
        ([], 2, 3, (2, 3), 'length is 0'),
        ([0.0] * 5 + [math.nan], 2, 3, (2, 3), 'not finite'),
        ([math.inf] + [0.0] * 5, 2, 3, (2, 3), 'not finite'),
        ([math.inf, -math.inf] + [0.0] * 4, 2, 3, (2, 3), 'not finite'),
        ([], 0, 3, (0, 3), 'samples'),
    ],
)
def test_scores_that_do_not_fit_are_refused(
    scores: list[float], samples: int, classes: int, expected: tuple[int, int], reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        check_scores(array('f', scores), samples, classes, expected)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.lists(st.floats(width=32), max_size=9).map(lambda scores: array('f', scores)),
    numbers,
    numbers,
    st.tuples(st.integers(0, 4), st.just(CLASSES)),
    st.booleans(),
)
def test_damaged_scores_are_refused_or_mean_what_they_say(
    scores: array, samples: int, classes: int, expected: tuple[int, int], honest: bool
) -> None:
    if honest:
        samples, classes = expected
        scores = (scores * (samples * classes))[: samples * classes]
    try:
        with little_memory():
            tensor = check_scores(scores, samples, classes, expected)
    except Rejected:
        fits = (samples, classes) == expected and len(scores) == samples * classes
        assert not (fits and samples and all(map(math.isfinite, scores)))
        return
    assert tuple(tensor.shape) == expected == (samples, classes)
    assert samples > 0
    assert tensor.flatten().numpy().tobytes() == scores.tobytes()
    assert all(map(math.isfinite, scores))


# ---- answers of an early exit ----------------------------------------------------------------


def test_answers_come_back_as_tensors() -> None:
    scores, rows = check_answers(array('f', [0.5, 1, 2]), array('I', [3]), 1, 3, (4, 3))
    assert scores.tolist() == [[0.5, 1, 2]]
    assert rows.tolist() == [3]
    scores, rows = check_answers(array('f'), array('I'), 0, 3, (4, 3))
    assert (scores.shape, rows.shape) == ((0, 3), (0,))


@pytest.mark.parametrize(
    ('scores', 'rows', 'samples', 'classes', 'expected', 'reason'),
    [
        ([], [], 0, 3, (0, 3), 'samples of the item is 0'),
        ([0.0] * 15, range(5), 5, 3, (4, 3), 'samples is 5'),
        ([], [], 2**32 - 1, 3, (4, 3), 'samples is 4294967295'),
        ([], [], 0, 2**32 - 1, (4, 3), 'classes is 4294967295'),
        ([0.0] * 5, [0, 1], 2, 3, (4, 3), 'length is 5'),
        ([0.0] * 6, [0], 2, 3, (4, 3), 'length of rows is 1'),
        ([0.0] * 6, [0, 4], 2, 3, (4, 3), 'last of rows is 4'),
        ([0.0] * 6, [1, 1], 2, 3, (4, 3), 'not ascending'),
        ([0.0] * 5 + [math.inf], [0, 1], 2, 3, (4, 3), 'not finite'),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    scores: list[float],
    rows: list[int],
    samples: int,
    classes: int,
    expected: tuple[int, int],
    reason: str,
) -> None:
    with pytest.raises(Rejected, match=reason):
        check_answers(array('f', scores), array('I', rows), samples, classes, expected)


def test_whole_items_have_no_rows() -> None:
    assert check_rows(array('I'), 0, 0).tolist() == []
    with pytest.raises(Rejected, match='length of rows is 1'):
        check_rows(array('I', [0]), 0, 0)
