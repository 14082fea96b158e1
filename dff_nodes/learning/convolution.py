# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Convolutions: right where PyTorch's are not, quick where maps have few pixels."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, linear, pad
from torch.nn.grad import conv2d_input

from dff_nodes.learning.precision import entered_precision
from dff_nodes.runs.processor import computes_bfloat16_tiles

FEW_PIXELS = 16
SOME_PIXELS = 64
MANY_CHANNELS = 128
CHUNK = 2 << 20
"""numbers that are copied at once to be multiplied"""


class Convolution(nn.Conv2d):
    """
    A convolution that is quick over few pixels too.

    On the CPU PyTorch's (oneDNN's) are made for large maps. Where many channels come in and a map
    of few pixels comes out, this one multiplies all windows at once with the weights. Forth and
    back, one thread of an Intel Xeon with AMX and other work beside it, PyTorch's -> this one,
    bfloat16 and float32: 256 samples of 512 channels, 2x2 pixels 226 -> 38 and 344 -> 114 ms;
    128 samples, 4x4 pixels 139 -> 69 and 270 -> 215 ms; of 256 channels, 4x4 pixels 46 -> 48
    and 118 -> 131 ms. It takes more memory, which `dff check` does not foretell: forth and back
    through the convolutions of resnet18's last stage (128 samples, float32) it grew by 108 MB with
    PyTorch's and by 132 to 162 MB with these.

    Where some more pixels come out and AMX multiplies bfloat16, only the weights' gradient is its
    own: PyTorch's takes up to three times as long as the way forth. Over 8x8 pixels, 256 samples
    of 192 channels that become 384, and of 384 that become 384, it took 73 -> 54 and 145 -> 90 ms
    on a machine whose memory others kept busy at times; then 185 -> 88 and 386 -> 177 ms. With
    AVX512-BF16 alone it would take 1.2 times as long as PyTorch's, and over 16x16 pixels too.

    Weights that meet nothing but padding, as eight of nine do of a 3x3 filter over a map of one
    pixel, are taken for zeros: oneDNN's bfloat16 (PyTorch 2.13) leaves their gradient as it found
    the memory, NaN at times.

    Of a map of which a filter of one pixel reads every second or third pixel, only those are
    given to PyTorch: oneDNN gathers them itself, and where less than 8 channels come in on a
    processor with AVX2 its weights' gradient writes past the end of what it gathered
    (https://github.com/uxlfoundation/oneDNN/issues/6035), which ends the process.
    """

    @classmethod
    def like(cls, other: nn.Conv2d) -> Convolution:
        """Make one of the same shape; its weights are its own."""
        return cls(
            other.in_channels,
            other.out_channels,
            other.kernel_size,
            other.stride,
            other.padding,
            other.dilation,
            other.groups,
            other.bias is not None,
            other.padding_mode,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[samples, channels, height, width], both ways."""
        dtype = entered_precision(x)
        if not 0 < self._pixels(x) <= _most_pixels(dtype):
            if self._passes_over_pixels():
                down, right = self.stride
                return conv2d(x[..., ::down, ::right], self.weight, self.bias, groups=self.groups)
            return self._conv_forward(x, self._seeing(x), self.bias)
        weight = self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        return _Product.apply(x.to(dtype), weight, bias, self.stride, self.padding)

    def _passes_over_pixels(self) -> bool:
        """Whether it reads single pixels that lie apart."""
        return self.kernel_size == (1, 1) and self.padding == (0, 0) and self.stride != (1, 1)

    def _seeing(self, x: Tensor) -> Tensor:
        """Give the weights, zeros for those that no pixel meets, so that they learn nothing."""
        if isinstance(self.padding, str) or self.padding_mode != 'zeros':
            return self.weight
        sides = zip(
            x.shape[2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True
        )
        down, right = (_meet_pixels(*side) for side in sides)
        if all(down) and all(right):
            return self.weight
        device = self.weight.device
        seen = torch.tensor(down, device=device)[:, None] & torch.tensor(right, device=device)
        return torch.where(seen, self.weight, 0)

    def _pixels(self, x: Tensor) -> int:
        """Give how many pixels come out, 0 if this is a convolution for PyTorch."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == 'zeros'
        if not plain or isinstance(self.padding, str) or self.in_channels < MANY_CHANNELS:
            return 0
        if x.device.type != 'cpu':
            return 0
        height, width = _places(x.shape[2:], self.kernel_size, self.stride, self.padding)
        return max(height, 0) * max(width, 0)


@cache
def _meet_pixels(pixels: int, window: int, step: int, around: int, apart: int) -> tuple[bool, ...]:
    """Say of each place of a window, along one side of maps, whether it ever meets a pixel."""
    last = pixels + 2 * around - apart * (window - 1)
    return tuple(
        any(0 <= first + place * apart - around < pixels for first in range(0, last, step))
        for place in range(window)
    )


def _most_pixels(dtype: torch.dtype) -> int:
    """Give how many pixels are few enough, from the processor and the precision alone."""
    tiles = dtype == torch.bfloat16 and computes_bfloat16_tiles()
    return SOME_PIXELS if tiles else FEW_PIXELS


def replace_convolutions(parent: nn.Module) -> None:
    """Put a Convolution in the place of each plain one inside a module."""
    for name, child in parent.named_children():
        if type(child) is nn.Conv2d:
            setattr(parent, name, Convolution.like(child))
        else:
            replace_convolutions(child)


class _Product(torch.autograd.Function):
    """A convolution by matrix products: over few pixels both ways, else its weights' gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        size = _places(x.shape[2:], weight.shape[2:], stride, padding)
        ctx.few = size[0] * size[1] <= FEW_PIXELS
        if not ctx.few:
            return conv2d(x, weight, bias, stride, padding)
        rows, matrix = _padded(x, padding), _as_matrix(weight)
        output = x.new_empty(len(x), *size, len(weight))
        for part in _parts(output, matrix.shape[1]):
            output[part] = linear(_windows(rows[part], weight, stride), matrix, bias)
        return output.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        above = gradient.permute(0, 2, 3, 1).contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0] and ctx.few:
            of_x = _of_input(x, weight, above, ctx.stride, ctx.padding)
        elif ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(x, weight, above, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = above.sum((0, 1, 2), dtype=_summed(weight)).to(weight.dtype)
        return of_x, of_weight, of_bias, None, None


def _of_input(
    x: Tensor, weight: Tensor, above: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Give the gradient of x from that of the output, [n, height, width, out]."""
    matrix = _as_matrix(weight)
    of_rows = torch.zeros_like(_padded(x, padding))
    for part in _parts(above, matrix.shape[1]):
        of_windows = (above[part] @ matrix).unflatten(3, (*weight.shape[2:], -1))
        _add_windows(of_rows[part], of_windows, stride)
    return _unpadded(of_rows, padding).permute(0, 3, 1, 2)


def _of_weight(
    x: Tensor, weight: Tensor, above: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Give the gradient of the weights from that of the output, [n, height, width, out]."""
    size, inputs, window = above.shape[1:3], weight.shape[1], weight.shape[2:]
    rows = _padded(x, padding)
    sums = weight.new_zeros(len(weight), *window, inputs, dtype=_summed(weight))
    for part in _parts(above, size.numel() * inputs):
        columns = above[part].flatten(0, 2).T.contiguous()
        for down, right in product(*map(range, window)):
            seen = _seen(rows[part], (down, right), size, stride)
            sums[:, down, right] += columns @ seen.flatten(0, 2)
    return sums.permute(0, 3, 1, 2).to(weight.dtype)


def _summed(weight: Tensor) -> torch.dtype:
    """Give what sums of many parts are kept in; bfloat16 would round each."""
    return torch.promote_types(weight.dtype, torch.float32)


def _places(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: Any
) -> tuple[int, ...]:
    """Height and width of what comes out."""
    return tuple(
        (pixels + 2 * around - window) // step + 1
        for pixels, window, step, around in zip(size, kernel, stride, padding, strict=True)
    )


def _parts(output: Tensor, of_one: int) -> list[slice]:
    """Cut the samples, so that each part copies at most CHUNK numbers, or is one sample."""
    samples = max(1, CHUNK // of_one)
    return [slice(first, first + samples) for first in range(0, len(output), samples)]


def _as_matrix(weight: Tensor) -> Tensor:
    """[out, in, height, width] -> [out, height * width * in]."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _padded(maps: Tensor, padding: tuple[int, int]) -> Tensor:
    """Put zeros around maps: [n, c, h, w] -> [n, h', w', c]."""
    high, wide = padding
    return pad(maps.permute(0, 2, 3, 1), (0, 0, wide, wide, high, high))


def _unpadded(rows: Tensor, padding: tuple[int, int]) -> Tensor:
    """Take them off: [n, h', w', c] -> [n, h, w, c]."""
    high, wide = padding
    return rows[:, high : rows.shape[1] - high, wide : rows.shape[2] - wide]


def _windows(rows: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
    """Copy what each place sees: [n, h', w', c] -> [n, height, width, window * c]."""
    high, wide = weight.shape[2:]
    seen = rows.unfold(1, high, stride[0]).unfold(2, wide, stride[1])
    return seen.permute(0, 1, 2, 4, 5, 3).flatten(3)


def _add_windows(rows: Tensor, windows: Tensor, stride: tuple[int, int]) -> None:
    """Add windows [n, height, width, window height, window width, c] where they came from."""
    for down, right in product(*map(range, windows.shape[3:5])):
        seen = _seen(rows, (down, right), windows.shape[1:3], stride)
        seen += windows[:, :, :, down, right]


def _seen(
    rows: Tensor, place: tuple[int, int], size: tuple[int, ...], stride: tuple[int, int]
) -> Tensor:
    """Give, as a view, the pixels at one place of all windows: [n, height, width, c]."""
    height, width = (
        slice(first, first + step * count, step)
        for first, count, step in zip(place, size, stride, strict=True)
    )
    return rows[:, height, width]
