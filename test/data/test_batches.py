# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Batches are a pure function of seed, epoch and index, and shifts are what they should be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dff_nodes.data.batches import Batch, Batches, chunks, rotated, shifted
from dff_nodes.data.dataset import Dataset, load_dataset
from dff_nodes.data.facts import Augmentation, DataError, DataFacts
from dff_nodes.runs.learning_config import DataConfig

GOLDEN_ORDER = [5, 9, 1, 6, 2, 4, 7, 10, 11, 0, 3, 8]
quick = settings(max_examples=50, deadline=None, derandomize=True)


def make_dataset(
    samples: int, shape: tuple[int, ...] = (5, 4, 3), dtype: str = 'uint8'
) -> Dataset:
    """Make samples without a zero, so that what is uncovered shows."""
    random = torch.Generator().manual_seed(1)
    x = torch.randint(1, 256, (samples, *shape), generator=random).to(getattr(torch, dtype))
    y = torch.arange(samples) % 3
    facts = DataFacts(shape, 3, samples, samples, 255.0, dtype)
    return Dataset(facts, x, y, x, y)


def epoch_of(batches: Batches, epoch: int) -> list[Batch]:
    return [batches.batch(epoch, index) for index in range(batches.per_epoch)]


def assert_same(one: Batch, other: Batch) -> None:
    for name in ('images', 'labels', 'samples'):
        assert torch.equal(getattr(one, name), getattr(other, name))


def shifted_naively(image: Tensor, down: int, right: int) -> Tensor:
    """Move one image [height, width, channels], pixel by pixel."""
    moved = torch.zeros_like(image)
    height, width, _ = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[row, column] = image[row - down, column - right]
    return moved


@quick
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3), st.integers(0, 5))
def test_every_sample_comes_exactly_once(samples, batch_size, shift, epoch) -> None:
    dataset = make_dataset(samples)
    batches = Batches(dataset, batch_size, Augmentation(shift), seed=7)
    seen = epoch_of(batches, epoch)
    assert len(seen) == batches.per_epoch == -(-samples // batch_size)
    assert all(len(batch.labels) == batch_size for batch in seen[:-1])
    drawn = torch.cat([batch.samples for batch in seen])
    assert drawn.sort().values.tolist() == list(range(samples))
    for batch in seen:
        assert torch.equal(batch.labels, dataset.y_train[batch.samples])
        if shift == 0:
            assert torch.equal(batch.images, dataset.x_train[batch.samples])


def test_same_seed_same_batch_in_any_order() -> None:
    dataset = make_dataset(30)
    wanted = [(epoch, index) for epoch in range(4) for index in range(8)]
    forth, back = (
        Batches(dataset, 4, Augmentation(2), seed=3),
        Batches(dataset, 4, Augmentation(2), seed=3),
    )
    first = {place: forth.batch(*place) for place in wanted}
    for place in reversed(wanted):
        assert_same(first[place], back.batch(*place))


def test_other_epoch_and_other_seed_other_order() -> None:
    dataset = make_dataset(30)
    orders = [
        tuple(Batches(dataset, 30, Augmentation(), seed).batch(epoch, 0).samples.tolist())
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(orders)) == len(orders)


def test_golden_order() -> None:
    """The order is a promise: a run that is continued elsewhere must find the same one."""
    batch = Batches(make_dataset(12), 12, Augmentation(), seed=0).batch(0, 0)
    assert batch.samples.tolist() == GOLDEN_ORDER


def test_every_batch_of_every_epoch_has_shifts_of_its_own() -> None:
    dataset = make_dataset(40)
    seen = []
    for seed, epoch, index in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        batch = Batches(dataset, 20, Augmentation(3), seed).batch(epoch, index)
        pairs = zip(batch.images, batch.samples, strict=True)
        seen.append(tuple(shift_of(image, dataset.x_train[sample], 3) for image, sample in pairs))
    assert len(set(seen)) == len(seen)


def test_shifting_does_not_change_the_order() -> None:
    dataset = make_dataset(30)
    still, moved = (
        Batches(dataset, 8, Augmentation(), seed=1),
        Batches(dataset, 8, Augmentation(3), seed=1),
    )
    for one, other in zip(epoch_of(still, 2), epoch_of(moved, 2), strict=True):
        assert torch.equal(one.samples, other.samples)


@quick
@given(
    st.sampled_from(['uint8', 'float32']),
    st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=1, max_size=9),
)
def test_shifted_equals_the_naive_way(dtype, shifts) -> None:
    images = make_dataset(len(shifts), dtype=dtype).x_train
    moved = shifted(images, torch.tensor(shifts))
    naive = torch.stack([shifted_naively(i, *s) for i, s in zip(images, shifts, strict=True)])
    assert torch.equal(moved, naive)
    assert moved.dtype == images.dtype
    assert moved.is_contiguous()


@pytest.mark.parametrize('shift', [1, 2, 3])
def test_all_shifts_within_the_bounds_come_and_no_others(shift: int) -> None:
    dataset = make_dataset(400)
    seen = set()
    for batch in epoch_of(Batches(dataset, 64, Augmentation(shift), seed=5), 0):
        for image, sample in zip(batch.images, batch.samples, strict=True):
            seen.add(shift_of(image, dataset.x_train[sample], shift))
    every = {(d, r) for d in range(-shift, shift + 1) for r in range(-shift, shift + 1)}
    assert seen == every


def shift_of(moved: Tensor, image: Tensor, most: int) -> tuple[int, int]:
    """Find the one shift that explains an image without zeros, from what is uncovered."""
    covered = moved[..., 0] > 0
    rows, columns = covered.any(1).nonzero(), covered.any(0).nonzero()
    height, width = covered.shape
    top, left = int(rows[0]), int(columns[0])
    down = top if top else int(rows[-1]) + 1 - height
    right = left if left else int(columns[-1]) + 1 - width
    assert max(abs(down), abs(right)) <= most
    assert torch.equal(moved, shifted_naively(image, down, right))
    return down, right


def test_batches_own_their_memory() -> None:
    dataset = make_dataset(20)
    for shift in (0, 2):
        batches = Batches(dataset, 20, Augmentation(shift), seed=0)
        before = batches.batch(0, 0)
        spoilt = batches.batch(0, 0)
        for tensor in (spoilt.images, spoilt.labels, spoilt.samples):
            assert tensor.is_contiguous()
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
            tensor.zero_()
        assert_same(before, batches.batch(0, 0))


def test_only_two_orders_are_kept() -> None:
    batches = Batches(make_dataset(20), 4, Augmentation(), seed=0)
    for epoch in range(5):
        batches.batch(epoch, 0)
    assert batches._order.cache_info().currsize == 2


@pytest.mark.parametrize('index', [-1, 5, 100])
def test_batch_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError, match='0 to 4'):
        Batches(make_dataset(20), 4, Augmentation(), seed=0).batch(0, index)


def test_features_cannot_be_shifted() -> None:
    dataset = make_dataset(20, shape=(7,))
    assert Batches(dataset, 4, Augmentation(), seed=0).batch(0, 0).images.shape == (4, 7)
    with pytest.raises(DataError, match=r'data\.shift_pixels must be 0 .*7 features.*got 1'):
        Batches(dataset, 4, Augmentation(1), seed=0)


def test_digits_in_batches() -> None:
    dataset = load_dataset(DataConfig())
    batch = Batches(dataset, 64, Augmentation(1), seed=0).batch(0, 22)
    assert batch.images.shape == (1437 - 22 * 64, 8, 8, 1)
    assert batch.images.dtype == torch.uint8


@quick
@given(st.integers(0, 100), st.integers(1, 120))
def test_chunks_cover_all_in_order(count, size) -> None:
    cut = chunks(count, size)
    assert [i for chunk in cut for i in range(chunk.start, chunk.stop)] == list(range(count))
    assert all(0 < chunk.stop - chunk.start <= size for chunk in cut)


@pytest.mark.parametrize(
    ('fill', 'row'), [('zero', [0, 0, 1]), ('edge', [1, 1, 1]), ('reflect', [3, 2, 1])]
)
def test_what_a_shift_uncovers(fill: str, row: list[int]) -> None:
    image = torch.tensor([[1, 2, 3, 4, 5]]).repeat(5, 1)[None, :, :, None]
    moved = shifted(image, torch.tensor([[0, 2]]), fill)
    assert moved[0, 0, :3, 0].tolist() == row
    assert moved[0, :, 2:, 0].tolist() == [[1, 2, 3]] * 5


def test_half_of_the_images_are_mirrored() -> None:
    dataset = make_dataset(400)
    still, flipped = (
        Batches(dataset, 400, Augmentation(flip=flip), seed=1).batch(0, 0).images
        for flip in (False, True)
    )
    mirrored = (flipped == still.flip(2)).flatten(1).all(1)
    same = (flipped == still).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize('fill', ['zero', 'edge', 'reflect'])
def test_a_quarter_turn_moves_whole_pixels(fill: str) -> None:
    images = make_dataset(5, shape=(6, 6, 2)).x_train
    for turns in range(4):
        angles = torch.full((5,), turns * math.pi / 2, dtype=torch.float64)
        assert torch.equal(rotated(images, angles, fill), images.rot90(turns, (1, 2)))


def test_no_turn_changes_nothing_where_height_and_width_differ() -> None:
    images = make_dataset(5, shape=(4, 9, 3)).x_train
    still = rotated(images, torch.zeros(5, dtype=torch.float64))
    assert torch.equal(still, images)
    assert still.is_contiguous()


def test_what_turning_uncovers_is_filled() -> None:
    images = torch.full((1, 8, 8, 1), 7, dtype=torch.uint8)
    angles = torch.tensor([math.pi / 4], dtype=torch.float64)
    assert int(rotated(images, angles, 'zero')[0, 0, 0]) == 0
    for fill in ('edge', 'reflect'):
        assert rotated(images, angles, fill).eq(7).all()


def test_a_rectangle_is_turned_without_being_stretched() -> None:
    """A quarter turn of a wide image shows its middle square, upright."""
    images = torch.rand(1, 4, 10, 1)
    turned = rotated(images, torch.tensor([math.pi / 2], dtype=torch.float64))
    assert torch.allclose(turned[:, :, 3:7], images[:, :, 3:7].rot90(1, (1, 2)), atol=1e-5)
    assert not turned[:, :, :3].any()


def test_every_image_is_turned_by_an_angle_of_its_own() -> None:
    dataset = make_dataset(40, shape=(9, 9, 1))
    settings = Augmentation(rotate_degrees=20)
    first, again = (Batches(dataset, 40, settings, seed=3).batch(0, 0) for _ in range(2))
    plain = Batches(dataset, 40, Augmentation(), seed=3).batch(0, 0)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.samples, plain.samples)
    changed = (first.images != plain.images).flatten(1).any(1)
    assert int(changed.sum()) > 30
    other = Batches(dataset, 40, settings, seed=3).batch(1, 0)
    assert not torch.equal(first.images, other.images)


def test_a_square_is_cut_out_at_a_place_of_each_images_own() -> None:
    dataset = make_dataset(300, shape=(8, 8, 1))
    images = Batches(dataset, 300, Augmentation(cutout_pixels=4), seed=1).batch(0, 0).images
    holes = images[..., 0] == 0
    for hole in holes:
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        height, width = (int(each.max() - each.min()) + 1 for each in (rows, columns))
        assert int(hole.sum()) == height * width, 'a rectangle'
        assert 1 <= height <= 4
        assert 1 <= width <= 4
    assert len({tuple(hole.nonzero()[0].tolist()) for hole in holes}) > 20


@pytest.mark.parametrize('setting', [{'flip': True}, {'cutout_pixels': 3}, {'rotate_degrees': 5}])
def test_only_images_are_augmented(setting: dict[str, int]) -> None:
    with pytest.raises(DataError, match='which are no images'):
        Batches(make_dataset(20, shape=(7,)), 4, Augmentation(**setting), seed=0)
