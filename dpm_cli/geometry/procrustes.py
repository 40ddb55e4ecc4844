"""Closed-form fits between matched point sets: rigid (Kabsch) and similarity (Umeyama 1991), weighted and batched.

Points are (..., N, 3), weights (..., N) >= 0. Robust versions reweight by Geman-McClure around a scale taken from
the residuals. Input without a unique answer (fewer than three points with weight, or all on a line) raises.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.rigid import rigid, transform
from dpm_cli.geometry.robust import weighted_median
from dpm_cli.geometry.similarity import similarity

ScaleRule = Literal["none", "symmetric", "least-squares"]

_COLLINEAR = 1e-6
"""Second singular value of the source's spread over the first below which points count as collinear."""


@dataclass(frozen=True, eq=False)
class RobustFit:
    """A robust fit of `target_from_source`."""

    target_from_source: Tensor
    """(..., 4, 4) rigid or similarity."""
    residual: Tensor
    """(..., N) distance after the fit, in target units."""


def fit_similarity(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    scale: ScaleRule = "symmetric",
) -> Tensor:
    """Similarity (..., 4, 4) from source to target.

    `symmetric` takes the ratio of the two spreads: swapping the sets gives the exact inverse and noise in the
    source does not shrink it. `least-squares` is Umeyama's, the minimiser of sum w |S source - target|^2. `none` is the
    rigid motion that minimises that sum.
    """
    return _fit(source, target, weights, scale)


def fit_robust(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    scale: ScaleRule = "none",
    iterations: int = 20,
) -> RobustFit:
    """Rigid or similarity fit that up to about 40 % of gross mismatches do not move.

    Each step refits with Geman-McClure weights; their width is three times the residuals' robust deviation, started at
    the full spread and at most halved a step, so that a bad start can be left.
    """
    given = torch.ones_like(source[..., 0]) if weights is None else weights
    fit = _fit(source, target, given, scale)
    residual = (transform(fit, source) - target).norm(dim=-1)
    width = residual.amax(-1, keepdim=True)
    floor = 1e-12 * (target.abs().amax((-1, -2))[..., None] + 1e-30)
    for _ in range(iterations):
        deviation = weighted_median(residual, given)[..., None]
        width = torch.maximum(torch.minimum(3 * 1.4826 * deviation, width), width / 2).clamp_min(
            floor
        )
        robust = (width**2 / (width**2 + residual**2)) ** 2
        fit = _fit(source, target, given * robust, scale)
        residual = (transform(fit, source) - target).norm(dim=-1)
    return RobustFit(fit, residual)


def _fit(source: Tensor, target: Tensor, weights: Tensor | None, scale: ScaleRule) -> Tensor:
    w = torch.ones_like(source[..., 0]) if weights is None else weights
    _require_unique(source, w)
    w = w / w.sum(-1, keepdim=True)
    mean_s, mean_t = ((w[..., None] * p).sum(-2, keepdim=True) for p in (source, target))
    s, t = source - mean_s, target - mean_t
    U, D, Vh = torch.linalg.svd((w[..., None] * t).transpose(-1, -2) @ s)
    sign = torch.ones_like(D)
    sign[..., 2] = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0).to(D)
    R = (U * sign[..., None, :]) @ Vh
    spread_s, spread_t = ((w * (p * p).sum(-1)).sum(-1) for p in (s, t))
    if scale == "none":
        factor = torch.ones_like(spread_s)
    elif scale == "symmetric":
        factor = (spread_t / spread_s).sqrt()
    else:
        factor = (D * sign).sum(-1) / spread_s
    moved = (factor[..., None, None] * (R @ mean_s.transpose(-1, -2)))[..., 0]
    translation = mean_t[..., 0, :] - moved
    return rigid(R, translation) if scale == "none" else similarity(factor, R, translation)


def _require_unique(source: Tensor, weights: Tensor) -> None:
    """Raise where any fit of the batch has fewer than three weighted points or all of them on a line."""
    counts = (weights > 0).sum(-1)
    if source.shape[-2] < 3 or bool((counts < 3).any()):
        raise DegenerateGeometryError(
            f"fit of point sets: {int(counts.min())} points with weight, at least 3 are needed"
        )
    w = weights / weights.sum(-1, keepdim=True)
    centred = source - (w[..., None] * source).sum(-2, keepdim=True)
    spread = torch.linalg.eigvalsh((w[..., None] * centred).transpose(-1, -2) @ centred)
    if bool((spread[..., 1] <= (_COLLINEAR**2) * spread[..., 2]).any()):
        raise DegenerateGeometryError(
            "fit of point sets: the points lie on a line or coincide, the rotation about it is free"
        )
