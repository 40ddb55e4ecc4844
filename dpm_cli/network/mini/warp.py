"""Camera arithmetic of the mini network in normalised image coordinates, batched over pairs and views.

Normalised coordinates are (pixel - image centre) / half the diagonal, so that one unit means the same angle
at a given focal whatever the size and aspect. A focal length f_n = focal_px / half diagonal turns them to rays.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp

OFFSET_UNIT = 0.1
"""Normalised coordinates that a match offset of one means."""


def half_diagonal(height: int, width: int) -> float:
    """Unit of normalised coordinates in pixels."""
    return math.hypot(height, width) / 2


def normalised_grid(height: int, width: int, *, like: Tensor) -> Tensor:
    """Normalised coordinates (H, W, 2) float32 of all pixel centres, on the device of `like`."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=torch.float32) - (height - 1) / 2,
        torch.arange(width, device=like.device, dtype=torch.float32) - (width - 1) / 2,
        indexing="ij",
    )
    return torch.stack((x, y), -1) / half_diagonal(height, width)


def warp(maps: Tensor, target: Tensor) -> Tensor:
    """Values (N, C, H, W) of `maps` (N, C, h, w) at normalised coordinates `target` (N, H, W, 2); edges repeat."""
    height, width = maps.shape[-2:]
    reach = torch.tensor(
        (max(width - 1, 1), max(height - 1, 1)), device=maps.device, dtype=torch.float32
    ) / (2 * half_diagonal(height, width))
    return F.grid_sample(
        maps, (target / reach).to(maps.dtype), padding_mode="border", align_corners=True
    )


def match_ends(target: Tensor) -> tuple[Tensor, Tensor]:
    """Where the points of both views are seen in image 1 and in image 2, each (B, 2, H, W, 2).

    `target` (B, 2, H, W, 2) holds the match of every pixel in the other view, normalised coordinates.
    """
    own = normalised_grid(*target.shape[2:4], like=target).expand_as(target[:, 0])
    return torch.stack((own, target[:, 1]), 1), torch.stack((target[:, 0], own), 1)


def swap_views(maps: Tensor) -> Tensor:
    """Exchange the two views of (2 B, ...) laid out pair by pair."""
    return maps.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def lift(depth: Tensor, target: Tensor, focal: Tensor) -> Tensor:
    """Points (B, 2, H, W, 3) in camera 1 of depth (B, 2, H, W) seen at `target` (B, 2, H, W, 2); focal is (B,)."""
    rays = target / focal[:, None, None, None, None]
    return torch.cat((rays * depth[..., None], depth[..., None]), -1)


def rigid_residual(
    points: Tensor, pose: Tensor, focal: Tensor, seen: Tensor
) -> tuple[Tensor, Tensor]:
    """What the camera's motion leaves unexplained.

    Args:
        points: (B, 2, H, W, 3) at t_1 in camera 1.
        pose: (B, 6) axis-angle and translation of camera 2 from camera 1.
        focal: (B,) normalised.
        seen: (B, 2, H, W, 2) normalised coordinates in image 2 where the pixel's point is seen at t_2.

    Returns:
        The image residual (B, 2, H, W, 2), zero for a static point, and the displacement (B, 2, H, W, 3) in
        camera 1 that explains it at an unchanged depth in camera 2.
    """
    turn = so3_exp(pose[:, :3])
    with torch.autocast(points.device.type, enabled=False):
        in_second = points.flatten(1, 3) @ turn.transpose(1, 2) + pose[:, None, 3:]
        x, y, z = in_second.unflatten(1, points.shape[1:4]).unbind(-1)
        z = z.clamp_min(1e-2)
        f = focal[:, None, None, None]
        residual = seen - (f / z)[..., None] * torch.stack((x, y), -1)
        shift = residual * (z / f)[..., None]
        moved = shift.flatten(1, 3) @ turn[:, :2]
    return residual, moved.unflatten(1, points.shape[1:4])


def shrink(coordinates: Tensor, factor: int) -> Tensor:
    """Mean of (B, 2, H, W, 2) over cells of `factor` pixels; normalised coordinates need no other change."""
    flat = coordinates.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(flat, factor).permute(0, 2, 3, 1).unflatten(0, coordinates.shape[:2])


def grow(maps: Tensor, factor: int) -> Tensor:
    """Maps (B, 2, C, h, w) at `factor` times the size."""
    grown = F.interpolate(maps.flatten(0, 1), scale_factor=factor, mode="bilinear")
    return grown.unflatten(0, maps.shape[:2])
