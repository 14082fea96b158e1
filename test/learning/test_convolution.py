# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Convolutions equal PyTorch's, over few pixels and where filters meet nothing but padding."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from dff_nodes.learning import convolution
from dff_nodes.learning.convolution import Convolution, replace_convolutions


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small layers do."""
    monkeypatch.setattr(convolution, 'MANY_CHANNELS', 6)


SHAPES = [
    pytest.param({'kernel_size': 3, 'padding': 1}, (4, 4), id='same'),
    pytest.param({'kernel_size': 3, 'padding': 1, 'stride': 2}, (7, 8), id='strided'),
    pytest.param(
        {'kernel_size': (3, 2), 'padding': (0, 1), 'stride': (1, 3)}, (5, 6), id='uneven'
    ),
    pytest.param({'kernel_size': 1, 'stride': 2, 'bias': False}, (8, 8), id='downsample'),
    pytest.param({'kernel_size': 5, 'padding': 2}, (1, 1), id='one pixel'),
]


def maps(size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(9, 6, *size, generator=random, dtype=torch.float64).to(dtype)
    return drawn.to(memory_format=torch.channels_last).requires_grad_()


def both(module: Convolution, x: Tensor) -> list[list[Tensor]]:
    """Output and gradients of the module, and of conv2d."""
    plain = conv2d(x, module.weight, module.bias, module.stride, module.padding)
    found = []
    for output in (module(x), plain):
        inputs = [x, *module.parameters()]
        found.append([output, *torch.autograd.grad(output.sin().sum(), inputs)])
    return found


def is_product(output: Tensor) -> bool:
    return '_Product' in type(output.grad_fn).__name__


@pytest.mark.parametrize(('settings', 'size'), SHAPES)
@pytest.mark.parametrize('chunk', [1, 1000, convolution.CHUNK])
def test_few_pixels(
    settings: dict[str, Any],
    size: tuple[int, int],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, 'CHUNK', chunk)
    module = Convolution(6, 5, dtype=torch.float64, **settings)
    x = maps(size)
    assert is_product(module(x))
    for own, plain in zip(*both(module, x), strict=True):
        assert own.shape == plain.shape
        assert torch.allclose(own, plain)


@pytest.mark.parametrize(('settings', 'size'), SHAPES)
def test_some_pixels(
    settings: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, 'FEW_PIXELS', 0)
    monkeypatch.setattr(convolution, 'CHUNK', 1000)
    monkeypatch.setattr(convolution, '_most_pixels', lambda dtype: 64)
    module = Convolution(6, 5, dtype=torch.float64, **settings)
    own, plain = both(module, maps(size))
    assert torch.equal(own[0], plain[0]), "PyTorch's way forth"
    assert is_product(own[0]) and not is_product(plain[0])
    for one, other in zip(own[1:], plain[1:], strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other)


@pytest.mark.parametrize(
    ('dtype', 'tiles', 'pixels'),
    [
        (torch.bfloat16, True, convolution.SOME_PIXELS),
        (torch.bfloat16, False, convolution.FEW_PIXELS),
        (torch.float32, True, convolution.FEW_PIXELS),
    ],
    ids=['AMX', 'no AMX', 'float32'],
)
def test_own_gradient_where_the_processor_multiplies_tiles(
    dtype: torch.dtype, tiles: bool, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, 'computes_bfloat16_tiles', lambda: tiles)
    assert convolution._most_pixels(dtype) == pixels


@pytest.mark.parametrize(
    ('settings', 'size'),
    [
        ({'kernel_size': 3, 'padding': 1}, (4, 5)),
        ({'kernel_size': 3, 'padding': 1, 'groups': 2}, (2, 2)),
        ({'kernel_size': 3, 'padding': 2, 'dilation': 2}, (2, 2)),
        ({'kernel_size': 3, 'padding': 'same'}, (2, 2)),
        ({'kernel_size': 3, 'padding': 1, 'padding_mode': 'reflect'}, (2, 2)),
    ],
    ids=['many pixels', 'groups', 'dilation', 'named padding', 'mirrored'],
)
def test_others_are_pytorchs_own(settings: dict[str, Any], size: tuple[int, int]) -> None:
    module = Convolution(6, 8, **settings)
    plain = nn.Conv2d(6, 8, **settings)
    plain.load_state_dict(module.state_dict())
    x = maps(size, torch.float32)
    assert torch.equal(module(x), plain(x))


@pytest.mark.parametrize('size', [2, 5], ids=['few pixels', 'some pixels'])
def test_bfloat16_stays_as_near_as_pytorchs(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, 'computes_bfloat16_tiles', lambda: True)
    module, x = Convolution(64, 48, 3, padding=1), torch.randn(40, 64, size, size)
    x.requires_grad_()
    exact = both(module, x)[1]
    with torch.autocast('cpu', torch.bfloat16):
        own, plain = both(module, x)
    assert is_product(own[0]) and own[0].dtype == torch.bfloat16
    assert {each.dtype for each in own[1:]} == {torch.float32}
    for one, other, wanted in zip(own, plain, exact, strict=True):
        error, allowed = ((each.float() - wanted).norm() for each in (one, other))
        assert 0 < error < 1.5 * allowed


def test_few_channels_are_pytorchs_own() -> None:
    assert Convolution(5, 8, 3)._pixels(torch.zeros(1, 5, 4, 4)) == 0
    assert Convolution(6, 8, 3)._pixels(torch.zeros(1, 6, 4, 4)) == 4


def test_a_window_that_does_not_fit_is_refused_as_by_pytorch() -> None:
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input"):
        Convolution(6, 8, 5)(torch.zeros(1, 6, 3, 3))


def test_what_is_not_asked_for_is_not_computed() -> None:
    module = Convolution(6, 5, 3, padding=1)
    module.requires_grad_(False)
    x = maps((2, 2), torch.float32)
    module(x).sum().backward()
    assert module.weight.grad is None and x.grad is not None
    module.requires_grad_(True)
    module(x.detach()).sum().backward()
    assert module.weight.grad is not None


def test_parts_of_other_networks_take_it_too() -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1))
    )
    names = [(name, each.shape) for name, each in body.named_parameters()]
    replace_convolutions(body)
    assert [(name, each.shape) for name, each in body.named_parameters()] == names
    assert type(body[0]) is type(body[1][1]) is Convolution


OVER_THE_EDGE = [
    pytest.param({'kernel_size': 3, 'padding': 1, 'stride': 2}, (1, 1), 8, id='one pixel'),
    pytest.param({'kernel_size': 2, 'padding': 1, 'stride': 2}, (1, 1), 3, id='even'),
    pytest.param({'kernel_size': 5, 'padding': 2, 'stride': 2}, (2, 2), 21, id='two pixels'),
    pytest.param({'kernel_size': 5, 'padding': 2, 'stride': 2}, (1, 9), 20, id='a line'),
    pytest.param({'kernel_size': 3, 'padding': 3, 'stride': 3}, (1, 1), 8, id='at one place'),
    pytest.param(
        {'kernel_size': 3, 'padding': 2, 'dilation': 2, 'groups': 5}, (2, 2), 8, id='dilated'
    ),
]


def dirty(numbers: int) -> None:
    """Leave NaN in memory that is given out next to whoever asks for so many numbers."""
    held = [
        torch.full((numbers + more,), float('nan'), dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
        for more in range(0, 4096, 256)
    ]
    del held


@pytest.mark.parametrize(('settings', 'size', 'unseen'), OVER_THE_EDGE)
@pytest.mark.parametrize('channels', [5, 20, 200])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_weights_that_meet_no_pixel_learn_nothing(
    settings: dict[str, Any],
    size: tuple[int, int],
    unseen: int,
    channels: int,
    dtype: torch.dtype,
) -> None:
    """PyTorch's bfloat16 gives them what happened to be in memory."""
    module = Convolution(channels, 10, **settings).to(memory_format=torch.channels_last)
    x = torch.randn(64, channels, *size).to(memory_format=torch.channels_last)
    right = torch.autograd.grad(nn.Conv2d.forward(module, x).sin().sum(), module.weight)[0]
    for _ in range(3):
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            output = module(x)
        dirty(module.weight.numel())
        own = torch.autograd.grad(output.float().sin().sum(), module.weight)[0]
        assert torch.allclose(own, right, rtol=0.1, atol=0.1 * right.abs().max().item())
        assert (own == 0).all((0, 1)).sum() == unseen


SINGLE_PIXELS = """
from itertools import product
import torch
from dff_nodes.learning.convolution import Convolution

for (stride, size), channels in product([(2, 8), (3, 12), (2, 7)], [1, 3, 9]):
    module = Convolution(channels, 10, 1, stride).to(memory_format=torch.channels_last)
    x = torch.randn(50, channels, size, size).to(memory_format=torch.channels_last)
    x.requires_grad_()
    inputs = [x, module.weight, module.bias]
    for _ in range(20):
        own = torch.autograd.grad(module(x).sin().sum(), inputs)
        held = [torch.ones(each) for each in range(1, 300)]
    x, module = x.detach().double().requires_grad_(), module.double()
    plain = torch.nn.Conv2d.forward(module, x)
    right = torch.autograd.grad(plain.sin().sum(), [x, module.weight, module.bias])
    for one, other in zip(own, right):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-3)
"""


def test_filters_of_single_pixels_that_lie_apart() -> None:
    """PyTorch's (oneDNN's) write past the end of memory on a processor with AVX2."""
    done = subprocess.run([sys.executable, '-c', SINGLE_PIXELS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
