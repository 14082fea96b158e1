# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Inputs against rows that are built whole: label embedded, scaled, then multiplied."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dff_nodes.learning.batch import Batch
from dff_nodes.learning.inputs import (
    ActivityInput,
    ImageInput,
    Input,
    MapImageInput,
    Pixels,
    PlainImageInput,
)

CPU = torch.device('cpu')
CLASSES = 3
PIXELS = 12
NEUTRAL = 0.1
SETTINGS = [
    (position, amplitude, full_pixel, dtype)
    for position in ('overwrite', 'prepend')
    for amplitude, full_pixel, dtype in (
        (1.0, 255.0, torch.uint8),
        (0.5, 16.0, torch.uint8),
        (20.0, 1.0, torch.float32),
    )
]


def image_input(position: str, amplitude: float, full_pixel: float) -> ImageInput:
    pixels = Pixels(full_pixel, standardize=False, device=CPU)
    return ImageInput(PIXELS, CLASSES, position, amplitude, NEUTRAL, pixels)


def linear(features: int, random: torch.Generator) -> nn.Linear:
    model = nn.Linear(features, 7)
    with torch.no_grad():
        model.weight.copy_(torch.randn(7, features, generator=random))
        model.bias.copy_(torch.randn(7, generator=random))
    return model


def images(samples: int, full_pixel: float, dtype: torch.dtype, random: torch.Generator) -> Tensor:
    drawn = full_pixel * torch.rand(samples, 2, 3, 2, generator=random)
    drawn[0] = 0
    return drawn.to(dtype)


def naive_rows(
    pixels: Tensor, label: Tensor, position: str, amplitude: float, full_pixel: float
) -> Tensor:
    """
    Build float64 rows as a person would: embed the label, then scale to root mean square 1.

    :param label: [rows, classes], 1 meaning the whole amplitude.
    """
    whole = pixels.double().flatten(1) / full_pixel
    whole = whole if position == 'prepend' else whole[:, CLASSES:]
    features = whole.shape[1] + CLASSES
    # A neutral label counts as a one-hot one, so the energy of the label is always amplitude^2.
    energy = (whole**2).sum(1, keepdim=True) + amplitude**2
    rows = torch.cat((amplitude * label.double(), whole), 1)
    return rows * (features / energy).sqrt()


def naive(model: nn.Linear, rows: Tensor) -> Tensor:
    return rows @ model.weight.double().T + model.bias.double()


def close(found: Tensor, exact: Tensor) -> bool:
    return found.shape == exact.shape and torch.allclose(
        found.double(), exact, rtol=1e-4, atol=2e-5 * float(exact.abs().max())
    )


@pytest.mark.parametrize(('position', 'amplitude', 'full_pixel', 'dtype'), SETTINGS)
def test_preactivations_are_those_of_whole_rows(
    position: str,
    amplitude: float,
    full_pixel: float,
    dtype: torch.dtype,
    random: torch.Generator,
) -> None:
    first = image_input(position, amplitude, full_pixel)
    model = linear(first.features, random)
    shown = images(5, full_pixel, dtype, random)
    labels, wrong = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([2, 0, 1, 1, 2])
    batch = Batch(shown, labels=labels, negative_labels=wrong)
    one_hot = torch.eye(CLASSES)

    def rows(label: Tensor, pixels: Tensor = shown) -> Tensor:
        return naive_rows(pixels, label, position, amplitude, full_pixel)

    pair = naive(model, torch.cat((rows(one_hot[labels]), rows(one_hot[wrong]))))
    neutral = naive(model, rows(torch.full((5, CLASSES), NEUTRAL)))
    each = rows(one_hot.repeat(5, 1), shown.repeat_interleave(CLASSES, 0))
    with torch.no_grad():
        assert close(first.pair(model, batch), pair)
        assert close(first.neutral(model, batch), neutral)
        assert close(first.candidates(model, batch), naive(model, each))


@pytest.mark.parametrize(('position', 'amplitude', 'full_pixel', 'dtype'), SETTINGS)
def test_image_and_label_have_root_mean_square_1_together(
    position: str,
    amplitude: float,
    full_pixel: float,
    dtype: torch.dtype,
    random: torch.Generator,
) -> None:
    """With the identity as weights, preactivations are the inputs themselves."""
    first = image_input(position, amplitude, full_pixel)
    assert first.features == (PIXELS if position == 'overwrite' else PIXELS + CLASSES)
    identity = nn.Linear(first.features, first.features)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(first.features))
        identity.bias.zero_()
        batch = Batch(images(6, full_pixel, dtype, random))
        rows = first.candidates(identity, batch)
        neutral = first.neutral(identity, batch)
    assert rows.square().mean(1).tolist() == pytest.approx([1.0] * len(rows), rel=1e-5)
    labels = rows[:, :CLASSES].view(6, CLASSES, CLASSES)
    amplitudes = labels.diagonal(dim1=1, dim2=2)
    assert torch.equal(labels, torch.diag_embed(amplitudes)), 'one-hot'
    share = neutral[:, :CLASSES] / amplitudes
    assert share.flatten().tolist() == pytest.approx([NEUTRAL] * 18, rel=1e-5)
    assert torch.equal(neutral[:, CLASSES:], rows[::CLASSES, CLASSES:]), 'one scale for all'


@pytest.mark.parametrize('kind', [ImageInput, MapImageInput, PlainImageInput])
def test_standardized_images_are_what_a_class_is_embedded_in(
    kind: type, random: torch.Generator
) -> None:
    def input_of(pixels: Pixels) -> Input:
        if kind is PlainImageInput:
            return PlainImageInput(maps=False, pixels=pixels)
        if kind is MapImageInput:
            return MapImageInput(CLASSES, False, 2.0, NEUTRAL, pixels)
        return ImageInput(PIXELS, CLASSES, 'overwrite', 2.0, NEUTRAL, pixels)

    shown = images(4, 255.0, torch.uint8, random)
    flat = shown.double().flatten(1)
    deviation = flat.std(1, correction=0, keepdim=True) + 255e-6
    ready = ((flat - flat.mean(1, keepdim=True)) / deviation).float().view_as(shown)
    model = nn.Flatten(1) if kind is MapImageInput else linear(PIXELS, random)
    with torch.no_grad():
        found = input_of(Pixels(255.0, standardize=True, device=CPU)).neutral(model, Batch(shown))
        exact = input_of(Pixels(1.0, standardize=False, device=CPU)).neutral(model, Batch(ready))
    assert torch.allclose(found, exact, atol=1e-4)


def test_pixels_under_the_label_do_not_matter(random: torch.Generator) -> None:
    first = image_input('overwrite', 1.0, 255.0)
    model = linear(PIXELS, random)
    shown = images(4, 255.0, torch.uint8, random)
    other = shown.clone()
    other.view(4, -1)[:, :CLASSES] = 77
    with torch.no_grad():
        assert torch.equal(
            first.candidates(model, Batch(shown)), first.candidates(model, Batch(other))
        )


@pytest.mark.parametrize('position', ['overwrite', 'prepend'])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_images_are_not_changed(
    position: str, dtype: torch.dtype, random: torch.Generator
) -> None:
    first = image_input(position, 1.0, 1.0)
    model = linear(first.features, random)
    shown = images(3, 1.0 if dtype == torch.float32 else 255.0, dtype, random)
    before = shown.clone()
    batch = Batch(shown, labels=torch.tensor([0, 1, 2]), negative_labels=torch.tensor([1, 2, 0]))
    first.pair(model, batch)
    first.neutral(model, batch)
    first.candidates(model, batch)
    assert torch.equal(shown, before)


@pytest.mark.parametrize('position', ['overwrite', 'prepend'])
def test_gradients_are_those_of_whole_rows(position: str, random: torch.Generator) -> None:
    first = image_input(position, 1.0, 255.0)
    model = linear(first.features, random)
    shown = images(5, 255.0, torch.uint8, random)
    labels, wrong = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([2, 0, 1, 1, 2])
    first.pair(model, Batch(shown, labels=labels, negative_labels=wrong)).square().sum().backward()
    found = model.weight.grad.double(), model.bias.grad.double()
    model.zero_grad()
    label = torch.eye(CLASSES)[torch.cat((labels, wrong))]
    rows = naive_rows(shown.repeat(2, 1, 1, 1), label, position, 1.0, 255.0)
    naive(model, rows).square().sum().backward()
    assert close(found[0], model.weight.grad.double())
    assert close(found[1], model.bias.grad.double())


# ---- activities ----------------------------------------------------------------------------


class Passes(nn.Module):
    """Gives the rows themselves, to see what the input makes of a batch."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_activities_become_rows_of_their_own(dtype: torch.dtype, random: torch.Generator) -> None:
    positive = torch.rand(4, 6, generator=random).to(dtype)
    negative = torch.rand(4, 6, generator=random).to(dtype)
    rows = ActivityInput(False, CPU).pair(Passes(), Batch(positive, negative))
    assert rows.dtype == torch.float32
    exact = torch.cat((positive, negative)).float()
    assert torch.equal(rows, exact)
    positive.zero_()
    negative.zero_()
    assert torch.equal(rows, exact)


@pytest.mark.parametrize('name', ['neutral', 'candidates'])
def test_what_is_only_scored_is_copied_too(name: str, random: torch.Generator) -> None:
    positive = torch.rand(6, 5, generator=random)
    exact = positive.clone()
    rows = getattr(ActivityInput(False, CPU), name)(Passes(), Batch(positive, candidates=3))
    positive.fill_(9)
    assert torch.equal(rows, exact)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_the_place_of_a_buffer_does_not_change_a_bit(
    dtype: torch.dtype, random: torch.Generator
) -> None:
    model = linear(33, random)
    sent = torch.randn(9, 33, generator=random).to(dtype)
    data = sent.numpy().tobytes()
    layer_input = ActivityInput(False, CPU)
    results = set()
    for offset in (0, 1, 2, 3, 4, 8, 20, 63):
        buffer = bytearray(offset) + bytearray(data)
        received = torch.frombuffer(buffer, dtype=dtype, offset=offset).view(9, 33)
        batch = Batch(received, received)
        with torch.no_grad():
            both = layer_input.pair(model, batch), layer_input.neutral(model, batch)
        results.add(b''.join(each.numpy().tobytes() for each in both))
    assert len(results) == 1
