"""Inverse depth of every pixel from its flow, with standard deviation, and what the static world cannot explain.

The two equations of `twoview.lines` are weighted by the inverse covariance of the flow, so on an edge, where flow along
it is unknown, the point is where the epipolar line crosses the edge's own displacement.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.twoview.lines import line_terms, with_z


@dataclass(frozen=True, eq=False)
class InverseDepth:
    """Per pixel of N views; inverse depth in units of 1 / baseline."""

    inverse_depth: Tensor
    """(N, H, W); negative = behind the camera."""
    sigma: Tensor
    """(N, H, W) standard deviation of `inverse_depth`."""
    chi2: Tensor
    """(N, H, W) squared distance to the epipolar line in standard deviations."""
    offset_px: Tensor
    """(N, H, W) length of the difference between flow and its explanation, pixels."""


def centred_rays(height: int, width: int, focal_px: Tensor, centre: Tensor) -> Tensor:
    """Rays (N, H, W, 3) with z = 1 for focal (N,) and principal point (2,)."""
    pixels = pixel_grid(height, width, dtype=focal_px.dtype, device=focal_px.device) - centre
    return with_z(pixels / focal_px[:, None, None, None])


def triangulate(
    flow: Tensor,
    covariance: Tensor,
    rotation: Tensor,
    translation: Tensor,
    focal_px: Tensor,
    centre: Tensor,
    rotation_sigma: Tensor,
) -> InverseDepth:
    """Parallax of views from flow (N, H, W, 2), its covariance (N, H, W, 3) px^2 and the other camera's pose.

    rotation (N, 3, 3), translation (N, 3) take this view's points to the other; focal (N,) px; `rotation_sigma` (N,)
    radians adds to the uncertainty of every pixel.
    """
    height, width = flow.shape[1:3]
    rays = centred_rays(height, width, focal_px, centre)
    a = rays @ rotation[:, None].mT
    focal = focal_px[:, None, None]
    u = rays[..., :2] + flow / focal[..., None]
    t = translation[:, None, None]
    terms = line_terms(a, u, t)
    along, shift = terms.along, terms.shift
    precision = _precision(covariance, focal_px * rotation_sigma) * focal[..., None] ** 2
    information = _form(precision, along, along).clamp_min(1e-12)
    rho = _form(precision, along, shift) / information
    other_z = a[..., 2] + rho * t[..., 2]
    safe_z = torch.where(other_z.abs() < 1e-3, torch.full_like(other_z, 1e-3), other_z)
    error = (shift - rho[..., None] * along) / safe_z[..., None]
    sigma = safe_z.abs() / information.sqrt()
    # Behind the second camera is as impossible as behind the first.
    rho = torch.where(other_z > 0, rho, -rho.abs())
    chi2 = _form(precision, error, error)
    return InverseDepth(rho, sigma, chi2, error.norm(dim=-1) * focal)


def _precision(covariance: Tensor, extra_px: Tensor) -> Tensor:
    """Inverse (N, H, W, 3) of covariance plus an isotropic deviation (N,)."""
    extra = extra_px.square()[:, None, None]
    xx, xy, yy = covariance[..., 0] + extra, covariance[..., 1], covariance[..., 2] + extra
    return torch.stack((yy, -xy, xx), -1) / (xx * yy - xy * xy).clamp_min(1e-9)[..., None]


def _form(matrix: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Bilinear form a^T M b of symmetric M (..., 3) = xx, xy, yy."""
    xx, xy, yy = matrix.unbind(-1)
    cross = xy * (a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0])
    return xx * a[..., 0] * b[..., 0] + cross + yy * a[..., 1] * b[..., 1]
