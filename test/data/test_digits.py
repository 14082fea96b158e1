# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The digits of this package are the ones they are said to be."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from dff_nodes.data import digits
from dff_nodes.data.dataset import load_dataset
from dff_nodes.data.facts import KNOWN, DataError
from dff_nodes.runs.learning_config import DataConfig

SHA256 = {
    'x_train': '9425c99fc8a72134dbde67ef5d626ada265fed9b2100a932fc0ffe9a9cd0c463',
    'x_test': '04b991899dc07d772ba02d83d1c95f303c0840e8b3d8e7ba82a7e246b2725a0c',
    'y_train': '3fe414a59226db44378ddfcfd9a9eba528f6a85a76eabe24f218d55d147b4105',
    'y_test': 'c516eeaebc147fdedbf9cd6bd2727948875ab955be061f045e359c40273789d2',
}


def test_golden_digits() -> None:
    dataset = load_dataset(DataConfig())
    assert dataset.facts == KNOWN['digits']
    for name, digest in SHA256.items():
        array = getattr(dataset, name).numpy().astype(np.uint8)
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest, name
    assert dataset.x_train.dtype == torch.uint8
    assert dataset.y_train.dtype == torch.int64
    assert dataset.x_train.max() == 16


def test_split_is_stratified() -> None:
    dataset = load_dataset(DataConfig())
    train, test = dataset.y_train.bincount(), dataset.y_test.bincount()
    assert test.tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    assert (train + test).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert ((train + test) * 360 / 1797 - test).abs().max() < 1


def test_no_image_is_on_both_sides() -> None:
    dataset = load_dataset(DataConfig())
    train = {image.numpy().tobytes() for image in dataset.x_train}
    assert not any(image.numpy().tobytes() in train for image in dataset.x_test)


def test_another_file_in_its_place(monkeypatch: pytest.MonkeyPatch, save) -> None:
    monkeypatch.setattr(digits, 'FILE', save())
    with pytest.raises(DataError, match='install dff_nodes again'):
        load_dataset(DataConfig())
