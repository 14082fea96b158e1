# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Goodness of an activity, and the normalisation that hides it from the next layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Measure = Literal['sum', 'mean']


class _Rectify(torch.autograd.Function):
    """ReLU together with the energy of its output, whose gradient is one product."""

    @staticmethod
    def forward(context: Any, preactivation: Tensor) -> tuple[Tensor, Tensor]:
        activity = preactivation.clamp_min(0)
        context.save_for_backward(activity)
        context.mark_non_differentiable(activity)
        return activity, energy(activity)

    @staticmethod
    def backward(context: Any, _: Tensor, gradient: Tensor) -> Tensor:
        (activity,) = context.saved_tensors
        # d/dz sum(relu(z)^2) = 2 relu(z): the ReLU's own gate is in the factor already.
        return activity * _by_row(2 * gradient, activity)


def rectify(preactivation: Tensor) -> tuple[Tensor, Tensor]:
    """
    Give the ReLU of a preactivation, and its energy.

    The gradient flows through the energy only: an activity that passes on carries none.

    :param preactivation: float32 [rows, units] or [rows, channels, height, width].
    :returns: activity of the same shape, energy [rows].
    """
    return _Rectify.apply(preactivation)


def energy(activity: Tensor) -> Tensor:
    """Sum of squared activities: [rows, ...] -> [rows]."""
    return torch.linalg.vector_norm(activity, dim=tuple(range(1, activity.dim()))).square_()


def _by_row(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value per row so that it multiplies whole rows."""
    return values.view(-1, *(1 for _ in like.shape[1:]))


def goodness(energies: Tensor, units: int, measure: Measure) -> Tensor:
    """
    Sum or mean of squared activities (Hinton 2022, section 2).

    :param energies: float32 [rows], of `energy`.
    """
    return energies if measure == 'sum' else energies / units


def normalize(activity: Tensor, energies: Tensor | None = None) -> Tensor:
    """
    Scale every row to root mean square 1, so that only its direction passes on.

    Hinton's layer normalisation without mean subtraction; unit *length* instead would bound
    the goodness of the next layer by its weights.

    :param activity: float32 [rows, ...].
    :param energies: float32 [rows] of the activity, if they are known already.
    """
    energies = energy(activity) if energies is None else energies
    root_mean_square = (energies / activity[0].numel()).sqrt_().add_(1e-6)
    return activity / _by_row(root_mean_square, activity)
