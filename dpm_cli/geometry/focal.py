"""Focal length from a point map in its own camera's frame, square pixels, principal point known.

The published code bases minimise sum w |pixel - f xy/z| by Weiszfeld's iteration (paper, section 3.1). Noise in the
points shrinks that f (the regressor x/z is the noisy side: 0.7 % at 2 % noise), and points near the camera plane
outweigh all others. Here a median of ratios starts a robust Gauss-Newton on the angle between point and pixel ray,
which is bounded and whose expected cost under isotropic noise does not depend on f.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.robust import weighted_median

_MIN_POINTS = 8
_LEAST_CURVATURE = 0.3
"""Of what the weights suggest: below it the cost is no parabola, and a step is not made longer for it."""
_STILL = 1e-6
"""Change of log focal length that is the last."""


@dataclass(frozen=True, eq=False)
class FocalFit:
    """Focal lengths of B point maps."""

    focal_px: Tensor
    """(B,) float64."""
    sigma_log: Tensor
    """(B,) standard deviation of log focal, from the spread of the residuals with correlated noise allowed for."""


def estimate_focal(
    points: Tensor,
    pixels: Tensor,
    principal_point: Tensor,
    weights: Tensor | None = None,
    *,
    blocks: Tensor | None = None,
    iterations: int = 15,
) -> FocalFit:
    """Focal length of each of B point sets given in their own camera's frame.

    Args:
        points: (B, N, 3).
        pixels: (N, 2) or (B, N, 2).
        principal_point: (2,) or (B, 2) pixels.
        weights: (B, N) >= 0; points behind the camera are ignored.
        blocks: (N,) int64, number of the image tile of each point: noise may be correlated within a tile.
        iterations: of the refinement.

    Raises:
        DegenerateGeometryError: fewer than 8 points in front of the camera, or all on the optical axis.
    """
    points = points.double()
    offsets = (pixels.double() - principal_point.double().unsqueeze(-2)).expand(
        *points.shape[:2], 2
    )
    w = torch.ones_like(points[..., 0]) if weights is None else weights.double()
    w = torch.where(points[..., 2] > 0, w, torch.zeros_like(w))
    leverage = (w * offsets.square().sum(-1)).sum(-1)
    if bool(((w > 0).sum(-1) < _MIN_POINTS).any()) or bool((leverage <= 0).any()):
        raise DegenerateGeometryError(
            f"focal length: fewer than {_MIN_POINTS} points in front of the camera; give --fov or --intrinsics"
        )
    log_focal = _start(points, offsets.norm(dim=-1), w)
    direction = torch.nn.functional.normalize(points, dim=-1)
    w = w / w.sum(-1, keepdim=True)
    robust, slope = w, torch.ones_like(w)
    for _ in range(iterations):
        error, jacobian = _angle_error(direction, offsets, log_focal)
        size = error.norm(dim=-1)
        width = (4 / 1.177 * weighted_median(size, w)).clamp_min(1e-9)[:, None]
        robust = w * (width**2 / (width**2 + size**2)) ** 2
        # Where residuals grow the weight falls, so the curvature is less than the weights suggest.
        slope = 1 - 2 * size**2 / (width**2 + size**2)
        falling = ((robust * slope).sum(-1) / robust.sum(-1)).clamp_min(_LEAST_CURVATURE)
        step = _dot(robust, jacobian, error) / _dot(robust, jacobian, jacobian) / falling
        log_focal = log_focal - step.clamp(-0.5, 0.5)
        if bool((step.abs() < _STILL).all()):
            break
    error, jacobian = _angle_error(direction, offsets, log_focal)
    curvature = _dot(robust, jacobian, jacobian)
    curvature = curvature * ((robust * slope).sum(-1) / robust.sum(-1)).clamp_min(0.1)
    pull = _summed(robust * (jacobian * error).sum(-1), blocks)
    return FocalFit(log_focal.exp(), pull.square().sum(-1).sqrt() / curvature)


def _start(points: Tensor, radius: Tensor, w: Tensor) -> Tensor:
    """Log focal length (B,): the weighted median of what each point says alone; far from the centre says more."""
    ratio = radius * points[..., 2] / points[..., :2].norm(dim=-1).clamp_min(1e-12)
    return weighted_median(ratio, w * radius).clamp_min(1e-3).log()


def _summed(pull: Tensor, blocks: Tensor | None) -> Tensor:
    """Pulls (B, N) of the points, summed within blocks of correlated noise (N,) where there are any."""
    if blocks is None:
        return pull
    count = int(blocks.max()) + 1
    sums = torch.zeros(len(pull), count, dtype=pull.dtype, device=pull.device)
    return sums.index_add_(1, blocks, pull)


def _angle_error(direction: Tensor, offsets: Tensor, log_focal: Tensor) -> tuple[Tensor, Tensor]:
    """Part of the pixel's unit ray across the point's direction (B, N, 3) and its derivative in log focal."""
    inverse = (-log_focal).exp()[:, None, None]
    ray = torch.cat((offsets * inverse, torch.ones_like(offsets[..., :1])), -1)
    norm = ray.norm(dim=-1, keepdim=True)
    ray = ray / norm
    change = torch.cat((-offsets * inverse, torch.zeros_like(offsets[..., :1])), -1) / norm
    change = change - (change * ray).sum(-1, keepdim=True) * ray
    across = [v - (v * direction).sum(-1, keepdim=True) * direction for v in (ray, change)]
    return across[0], across[1]


def _dot(weights: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (weights * (a * b).sum(-1)).sum(-1)
