# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Convolutions, those over maps of a few pixels as matrix products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad

FEW_PIXELS = 16
MANY_CHANNELS = 128
CHUNK = 2 << 20
"""numbers of windows that are made at once"""


class Convolution(nn.Conv2d):
    """
    A convolution that is quick over few pixels too.

    On the CPU PyTorch's (oneDNN's) are made for large maps. Where many channels come in and a map
    of few pixels comes out, this one multiplies all windows at once with the weights. Forth and
    back, one thread of an Intel Xeon with AMX and other work beside it, PyTorch's -> this one,
    bfloat16 and float32: 256 samples of 512 channels, 2x2 pixels 226 -> 38 and 344 -> 114 ms;
    128 samples, 4x4 pixels 139 -> 69 and 270 -> 215 ms; of 256 channels, 4x4 pixels 46 -> 48
    and 118 -> 131 ms (in parts of 8 << 20 numbers, of which the fourth part was no slower on an
    AMD EPYC in float32). It takes more memory, which the footprint that `dff check` foretells does
    not count: forth and back through the convolutions of resnet18's last stage (128 samples,
    float32, AMD EPYC) 211 MB at the peak, where PyTorch's take 157 MB.
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
        if not self._is_product(x):
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return _WindowProduct.apply(x, weight, bias, self.stride, self.padding)

    def _is_product(self, x: Tensor) -> bool:
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == 'zeros'
        if not plain or isinstance(self.padding, str) or self.in_channels < MANY_CHANNELS:
            return False
        if x.device.type != 'cpu':
            return False
        height, width = _places(x.shape[2:], self.kernel_size, self.stride, self.padding)
        return min(height, width) > 0 and height * width <= FEW_PIXELS


def replace_convolutions(parent: nn.Module) -> None:
    """Put a Convolution in the place of each plain one inside a module."""
    for name, child in parent.named_children():
        if type(child) is nn.Conv2d:
            setattr(parent, name, Convolution.like(child))
        else:
            replace_convolutions(child)


class _WindowProduct(torch.autograd.Function):
    """All windows of a convolution, some samples at a time, times the weights."""

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
        rows, matrix = _padded(x, padding), _as_matrix(weight)
        output = x.new_empty(len(x), *size, len(weight))
        for part in _parts(output, matrix):
            output[part] = linear(_windows(rows[part], weight, stride), matrix, bias)
        return output.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        above = gradient.permute(0, 2, 3, 1).contiguous()
        rows, matrix = _padded(x, ctx.padding), _as_matrix(weight)
        of_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        # Sums of many parts; bfloat16 would round each.
        summed = torch.promote_types(matrix.dtype, torch.float32)
        of_matrix = torch.zeros_like(matrix, dtype=summed)
        for part in _parts(above, matrix):
            flat = above[part].flatten(0, 2)
            if ctx.needs_input_grad[1]:
                windows = _windows(rows[part], weight, ctx.stride).flatten(0, 2)
                of_matrix += flat.T @ windows
            if of_rows is not None:
                of_windows = (flat @ matrix).view(*above[part].shape[:3], *weight.shape[2:], -1)
                _add_windows(of_rows[part], of_windows, ctx.stride)
        of_weight = of_matrix.to(weight.dtype).view(len(weight), *weight.shape[2:], -1)
        return (
            None if of_rows is None else _unpadded(of_rows, ctx.padding).permute(0, 3, 1, 2),
            of_weight.permute(0, 3, 1, 2) if ctx.needs_input_grad[1] else None,
            above.sum((0, 1, 2), dtype=summed).to(weight.dtype)
            if ctx.needs_input_grad[2]
            else None,
            None,
            None,
        )


def _places(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: Any
) -> tuple[int, ...]:
    """Height and width of what comes out."""
    return tuple(
        (pixels + 2 * around - window) // step + 1
        for pixels, window, step, around in zip(size, kernel, stride, padding, strict=True)
    )


def _parts(output: Tensor, matrix: Tensor) -> list[slice]:
    """Cut the samples, so that the windows of each part are at most CHUNK numbers."""
    of_one = output.shape[1] * output.shape[2] * matrix.shape[1]
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
    """Add windows [n, height, width, window height, width, c] where they were copied from."""
    height, width, high, wide = windows.shape[1:5]
    for down in range(high):
        for right in range(wide):
            ends = down + stride[0] * height, right + stride[1] * width
            rows[:, down : ends[0] : stride[0], right : ends[1] : stride[1]] += windows[
                :, :, :, down, right
            ]
