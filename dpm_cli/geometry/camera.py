"""Pinhole cameras: pixels, rays, projection, and what a resize does to intrinsics.

Conventions are those of `dpm_cli.structures`: OpenCV axes, pixel centres at integers, depth is z.
All functions are batched over leading axes and keep the dtype and device of their input.
"""

import math

import torch
from torch import Tensor


def pixel_grid(height: int, width: int, *, dtype=torch.float32, device=None) -> Tensor:
    """Pixel coordinates (height, width, 2) as (x, y); the centre of the first pixel is (0, 0)."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device),
        torch.arange(width, dtype=dtype, device=device),
        indexing="ij",
    )
    return torch.stack((x, y), -1)


def intrinsics_matrix(focal_px: Tensor, height: int, width: int) -> Tensor:
    """K (..., 3, 3) of square pixels with the principal point in the image centre.

    `focal_px` is (...); the centre of W pixels at integer coordinates is (W - 1) / 2.
    """
    K = torch.zeros((*focal_px.shape, 3, 3), dtype=focal_px.dtype, device=focal_px.device)
    K[..., 0, 0] = focal_px
    K[..., 1, 1] = focal_px
    K[..., 0, 2] = (width - 1) / 2
    K[..., 1, 2] = (height - 1) / 2
    K[..., 2, 2] = 1
    return K


def rays(pixels: Tensor, K: Tensor) -> Tensor:
    """Directions (..., N, 3) with z = 1 through pixels (..., N, 2); K is (..., 3, 3)."""
    fx, fy = K[..., 0, 0, None], K[..., 1, 1, None]
    cx, cy, skew = K[..., 0, 2, None], K[..., 1, 2, None], K[..., 0, 1, None]
    y = (pixels[..., 1] - cy) / fy
    x = (pixels[..., 0] - cx - skew * y) / fx
    return torch.stack((x, y, torch.ones_like(x)), -1)


def unproject(depth: Tensor, K: Tensor) -> Tensor:
    """Points (..., H, W, 3) in the camera's frame from z-depth (..., H, W) and K (..., 3, 3)."""
    height, width = depth.shape[-2:]
    grid = pixel_grid(height, width, dtype=depth.dtype, device=depth.device).reshape(-1, 2)
    directions = rays(grid, K).reshape(*K.shape[:-2], height, width, 3)
    return directions * depth[..., None]


def project(points: Tensor, K: Tensor, *, min_depth: float = 1e-9) -> Tensor:
    """Pixels (..., N, 2) of points (..., N, 3) given in the camera's frame; K is (..., 3, 3).

    Depth is clamped at `min_depth`, so the result is finite; the caller decides what z <= 0 means.
    """
    z = points[..., 2].clamp_min(min_depth)
    x, y = points[..., 0] / z, points[..., 1] / z
    fx, fy = K[..., 0, 0, None], K[..., 1, 1, None]
    cx, cy, skew = K[..., 0, 2, None], K[..., 1, 2, None], K[..., 0, 1, None]
    return torch.stack((fx * x + skew * y + cx, fy * y + cy), -1)


def project_map(points: Tensor, K: Tensor) -> Tensor:
    """Pixels (..., H, W, 2) of a point map (..., H, W, 3) in the camera's frame."""
    height, width = points.shape[-3:-1]
    return project(points.flatten(-3, -2), K).unflatten(-2, (height, width))


def focal_from_fov(fov_deg: float, width: int) -> float:
    """Focal length in pixels from the horizontal field of view in degrees."""
    return width / 2 / math.tan(math.radians(fov_deg) / 2)


def fov_from_focal(focal_px: float, width: int) -> float:
    """Horizontal field of view in degrees."""
    return math.degrees(2 * math.atan(width / 2 / focal_px))


def source_from_working(source_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Affine (3, 3) float64 that maps working pixels to source pixels; sizes are (height, width).

    With pixel centres at integers a plain resize maps x to sx * x + (sx - 1) / 2.
    """
    sy, sx = source_size[0] / size[0], source_size[1] / size[1]
    A = torch.eye(3, dtype=torch.float64)
    A[0, 0], A[1, 1] = sx, sy
    A[0, 2], A[1, 2] = (sx - 1) / 2, (sy - 1) / 2
    return A


def transform_intrinsics(K: Tensor, affine: Tensor) -> Tensor:
    """Intrinsics after the image plane was mapped by `affine` (..., 3, 3): simply affine @ K."""
    return affine.to(K) @ K
