# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A well-formed .npz loads as it is; every malformed one is refused by name."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dff_nodes.data.dataset import load_dataset, read_facts
from dff_nodes.data.facts import DataError, DataFacts, data_warnings
from dff_nodes.runs.learning_config import DataConfig

X, Y = ('x_train', 'x_test'), ('y_train', 'y_test')
quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def config(path: Path) -> DataConfig:
    return DataConfig(dataset=str(path))


def assert_refused(path: Path, *words: str, facts_too: bool = True) -> None:
    """Loading, and reading the facts, must fail with a message of one line with these words."""
    for read in (load_dataset, read_facts) if facts_too else (load_dataset,):
        with pytest.raises(DataError) as caught:
            read(config(path))
        message = str(caught.value)
        assert str(path) in message
        assert '\n' not in message
        for word in words:
            assert word in message


inputs = st.sampled_from(
    [
        (dtype, shape)
        for dtype in ('uint8', 'float16', 'float32', 'float64', '>f4', '>f8')
        for shape in ((7,), (5, 4), (5, 4, 3))
    ]
)


@quick
@given(
    inputs,
    st.sampled_from(['uint8', 'int8', '>i2', 'uint16', 'int32', 'int64', 'uint64']),
    st.booleans(),
)
def test_every_good_type_loads(save, kind, label_dtype, fortran) -> None:
    dtype, shape = kind
    random = np.random.default_rng(1)
    x = random.integers(0, 200, (10, *shape)).astype(dtype)
    x = np.asfortranarray(x) if fortran else x
    y = np.arange(10).astype(label_dtype)
    path = save(x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    dataset = load_dataset(config(path))
    as_loaded = 'uint8' if dtype == 'uint8' else 'float32'
    full_shape = (*shape, 1) if len(shape) == 2 else shape
    scale = 255.0 if as_loaded == 'uint8' else 1.0
    assert dataset.facts == DataFacts(full_shape, 10, 6, 4, scale, as_loaded)
    assert read_facts(config(path)) == dataset.facts
    assert dataset.x_train.dtype == getattr(torch, as_loaded)
    assert dataset.x_train.is_contiguous()
    np.testing.assert_array_equal(dataset.x_train.numpy(), x[:6].reshape(6, *full_shape))
    np.testing.assert_array_equal(dataset.x_test.numpy(), x[6:].reshape(4, *full_shape))
    assert dataset.y_train.tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.y_test.tolist() == [6, 7, 8, 9]


@quick
@given(st.sampled_from(X), st.sampled_from(['int8', 'int64', 'bool', 'complex64', 'U3', 'M8[s]']))
def test_inputs_of_another_type(save, arrays, name, dtype) -> None:
    array = np.zeros(arrays()[name].shape, dtype)
    assert_refused(save(**{name: array}), name, str(array.dtype), 'uint8 or float')


@quick
@given(st.sampled_from(Y), st.sampled_from(['float32', 'float64', 'bool', 'complex64', 'U3']))
def test_labels_that_are_no_integers(save, arrays, name, dtype) -> None:
    array = arrays()[name].astype(dtype)
    assert_refused(save(**{name: array}), name, str(array.dtype), 'whole numbers')


@pytest.mark.parametrize('name', X + Y)
def test_objects_are_never_unpickled(save, arrays, name) -> None:
    path = save(**{name: np.array([*arrays()[name], print], dtype=object)[:-1]})
    assert_refused(path, name, 'object')


@quick
@given(st.sampled_from(X), st.sampled_from([(), (6,), (6, 5, 4, 1, 1)]))
def test_inputs_of_other_dimensions(save, name, shape) -> None:
    assert_refused(save(**{name: np.zeros(shape, np.uint8)}), name, str(shape), '[samples, height')


@quick
@given(st.sampled_from(Y), st.sampled_from([(), (6, 1), (6, 3)]))
def test_labels_of_other_dimensions(save, name, shape) -> None:
    assert_refused(save(**{name: np.zeros(shape, np.int64)}), name, str(shape), '[samples]')


@quick
@given(st.sampled_from(['train', 'test']), st.integers(1, 9))
def test_labels_that_do_not_match_their_samples(save, arrays, split, count) -> None:
    samples = len(arrays()[f'x_{split}'])
    path = save(**{f'y_{split}': np.arange(count) % 3})
    if count == samples:
        assert read_facts(config(path)).classes == 3
    else:
        assert_refused(path, f'y_{split}', f'{count} labels', f'{samples} samples', f'x_{split}')


@quick
@given(st.sampled_from([(5, 5), (4, 5), (20,), (5, 4, 3)]))
def test_test_samples_of_another_shape(save, shape) -> None:
    assert_refused(save(x_test=np.zeros((4, *shape), np.uint8)), 'x_test', str(shape), '(5, 4)')


def test_test_samples_of_another_type(save) -> None:
    assert_refused(save(x_test=np.zeros((4, 5, 4), np.float32)), 'x_test', 'float32', 'uint8')


@pytest.mark.parametrize('name', X + Y)
def test_empty_array(save, arrays, name) -> None:
    assert_refused(save(**{name: arrays()[name][:0]}), name, 'empty')


def test_images_without_pixels(save) -> None:
    assert_refused(save(x_train=np.zeros((6, 0, 4), np.uint8)), 'x_train', 'empty')


@pytest.mark.parametrize('name', X + Y)
def test_missing_array(save, arrays, name) -> None:
    there = [each for each in arrays() if each != name]
    assert_refused(save(**{name: None}), f'array {name} is missing', ', '.join(there))


@quick
@given(
    st.sampled_from(X),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e39]),
    st.integers(0, 3),
    st.integers(0, 6),
)
def test_numbers_that_are_not_finite(save, name, value, row, column) -> None:
    good = {'x_train': np.zeros((6, 7)), 'x_test': np.zeros((4, 7))}
    good[name][row, column] = value
    path = save(**good)
    assert_refused(path, name, f'({row}, {column})', str(value), 'finite', facts_too=False)


@quick
@given(st.sampled_from(Y), st.integers(-(2**63), -1), st.integers(0, 3))
def test_negative_label(save, arrays, name, value, position) -> None:
    labels = arrays()[name].astype(np.int64)
    labels[position] = value
    assert_refused(save(**{name: labels}), name, str(value), f'position {position}')


@quick
@given(st.sampled_from(Y), st.integers(65535, 2**64 - 1), st.integers(0, 3))
def test_too_many_classes(save, arrays, name, value, position) -> None:
    labels = arrays()[name].astype(np.uint64)
    labels[position] = value
    assert_refused(save(**{name: labels}), name, str(value), '65535')


def test_most_classes(save) -> None:
    path = save(y_test=np.array([0, 1, 2, 65534], np.uint16))
    assert read_facts(config(path)).classes == 65535


@pytest.mark.parametrize('label', [0, 7])
def test_one_class_only(save, label) -> None:
    path = save(y_train=np.full(6, label), y_test=np.full(4, label))
    assert_refused(path, 'y_train', f'one class only, {label}')


def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(tmp_path / 'none.npz', 'there is no file')
    monkeypatch.chdir(tmp_path)
    assert_refused(Path('none.npz'), str(tmp_path / 'none.npz'))


def test_home_folder(save, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save()
    monkeypatch.setenv('HOME', str(path.parent))
    assert read_facts(DataConfig(dataset='~/own.npz')).classes == 3


def test_not_an_npz(tmp_path: Path) -> None:
    (tmp_path / 'text.npz').write_text('x_train')
    assert_refused(tmp_path / 'text.npz', 'not a whole .npz file')
    (tmp_path / 'folder.npz').mkdir()
    assert_refused(tmp_path / 'folder.npz', 'cannot be read')
    with (tmp_path / 'array.npz').open('wb') as file:
        np.save(file, np.zeros(3))
    assert_refused(tmp_path / 'array.npz', 'not a whole .npz file')


def test_header_that_promises_too_much(tmp_path: Path, arrays) -> None:
    """A header may claim any size; nothing of it is allocated."""
    path = tmp_path / 'boast.npz'
    np.savez(path, **arrays(x_train=None))
    header = io.BytesIO()
    promise = {'descr': '|u1', 'fortran_order': False, 'shape': (10**15, 5, 4)}
    np.lib.format.write_array_header_1_0(header, promise)
    with zipfile.ZipFile(path, 'a') as file:
        file.writestr('x_train.npy', header.getvalue() + bytes(120))
    assert_refused(path, 'x_train', 'damaged', 'promises')


@quick
@given(st.floats(0, 1, exclude_max=True))
def test_torn_file(save, share) -> None:
    path = save()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert_refused(path, 'not a whole .npz file')


@settings(quick, max_examples=300)
@given(st.data(), st.booleans())
def test_flipped_bytes_never_load_as_something_else(tmp_path, arrays, data, packed) -> None:
    """Either the file is refused, or what was flipped says nothing of the data."""
    path = tmp_path / 'flipped.npz'
    (np.savez_compressed if packed else np.savez)(path, **arrays())
    torn = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        torn[data.draw(st.integers(0, len(torn) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(torn)
    try:
        dataset = load_dataset(config(path))
    except DataError as error:
        assert str(path) in str(error)
        return
    for name, array in arrays().items():
        loaded = getattr(dataset, name).numpy().reshape(array.shape)
        np.testing.assert_array_equal(loaded, array)


def test_messages_say_what_was_found_and_what_is_right(save) -> None:
    path = save(y_train=np.array([0, 1, 2, 0, 1, -4]))
    expected = (
        f'{path}: array y_train holds -4 at position 5; '
        'right would be whole numbers 0 to classes - 1 of shape [samples]'
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(config(path))


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        ([1, 2, 3, 1, 2, 3], ['class 0,', 'subtract 1']),
        ([0, 1, 3, 0, 1, 3], ['class 2,', 'number classes from 0']),
        ([0, 1, 9, 0, 1, 9], ['class 2, 3, 4, 5, 6 and 2 more,']),
        ([0, 1, 0, 1, 0, 1], ['class 2,']),
    ],
)
def test_classes_without_training_samples_are_told(
    save: Callable[..., Path], labels: list[int], words: list[str]
) -> None:
    path = save(y_train=np.array(labels))
    (warning,) = data_warnings(config(path))
    assert str(path) in warning
    for word in words:
        assert word in warning


def test_nothing_is_told_where_each_class_has_samples(
    save: Callable[..., Path], save_graph: Callable[..., Path]
) -> None:
    for path in (save(), save_graph()):
        assert data_warnings(config(path)) == []
    assert data_warnings(DataConfig(dataset='mnist')) == []
