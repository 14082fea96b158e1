# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from dff_nodes.learning.wire import STEPS, all_finite, from_wire, to_wire


def travelled(activity: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Give what arrives of an activity."""
    received = torch.empty_like(activity)
    from_wire(to_wire(activity, dtype), received)
    return received


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float16, torch.float32])
def test_what_has_travelled_once_travels_unchanged(
    dtype: torch.dtype, random: torch.Generator
) -> None:
    once = travelled(3 * torch.rand(50, 40, generator=random), dtype)
    assert torch.equal(travelled(once, dtype), once)


def test_sixteenths_are_the_nearest_and_the_largest_are_cut(random: torch.Generator) -> None:
    activity = 15.9 * torch.rand(50, 40, generator=random)
    error = (travelled(activity, torch.uint8) - activity).abs()
    assert error.max() <= 0.5 / STEPS
    large = travelled(torch.tensor([[15.94, 16.0, 255.0, 1e30]]), torch.uint8)
    assert large.tolist() == [[255 / STEPS] * 4]


def test_zero_stays_zero() -> None:
    for dtype in (torch.uint8, torch.float16, torch.float32):
        assert travelled(torch.zeros(2, 3), dtype).count_nonzero() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
@pytest.mark.parametrize('wrong', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('place', [0, 777, 1999])
def test_one_number_that_is_not_finite_is_found(
    dtype: torch.dtype, wrong: float, place: int, random: torch.Generator
) -> None:
    tensor = torch.randn(2000, generator=random).to(dtype)
    assert all_finite(tensor)
    tensor[place] = wrong
    assert not all_finite(tensor)


def test_the_largest_numbers_are_finite() -> None:
    for dtype in (torch.float16, torch.float32):
        assert all_finite(torch.full((50, 40), torch.finfo(dtype).max, dtype=dtype))
        assert all_finite(torch.empty((0, 40), dtype=dtype))
    assert all_finite(torch.full((50, 40), 255, dtype=torch.uint8))
