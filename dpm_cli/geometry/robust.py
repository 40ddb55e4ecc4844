"""Statistics that a share of wrong data cannot spoil, batched."""

import torch
from torch import Tensor

RAYLEIGH_MEDIAN = 1.177
"""Median length of a 2D normal vector over its standard deviation per axis."""


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted median (...) over the last axis of values (..., N) with weights (..., N) >= 0.

    Where the half weight falls exactly between two values their mean is taken; zero total weight gives 0.
    """
    values, order = torch.where(weights > 0, values, torch.inf).sort(-1)
    cumulative = weights.gather(-1, order).cumsum(-1)
    half = cumulative[..., -1:] / 2
    last = values.shape[-1] - 1
    lower = torch.searchsorted(cumulative, half * (1 - 1e-6)).clamp_max(last)
    upper = torch.searchsorted(cumulative, half * (1 + 1e-6), right=True).clamp_max(last)
    median = (values.gather(-1, lower) + values.gather(-1, upper))[..., 0] / 2
    return torch.where(half[..., 0] > 0, median, torch.zeros_like(median))


def geman_mcclure(square: Tensor) -> Tensor:
    """Cost of squared residuals in units of the width: x / (1 + x), which saturates at 1."""
    return square / (1 + square)


def geman_mcclure_weight(square: Tensor, weight: Tensor) -> Tensor:
    """Weights (...) that least squares needs for that cost: weight / (1 + x)^2, a quarter at the width."""
    return weight / (1 + square).square()
