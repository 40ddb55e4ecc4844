"""What the mini network is told: planes of both views, and later what its own answers leave unexplained."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.network.mini.warp import (
    half_diagonal,
    lift,
    match_ends,
    rigid_residual,
    swap_views,
    warp,
)

INPUT_CHANNELS = 14


def network_inputs(
    images: Tensor, target: Tensor, grid: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Input planes (2 B, 14, H, W) of both views, and the flow's consistency error (B, 2, H, W) in pixels.

    The planes are those that `mini.model` lists, except for the depth by parallax.
    """
    flat, flat_target = images.flatten(0, 1), target.flatten(0, 1)
    other = warp(swap_views(flat), flat_target)
    back = warp(swap_views((target - grid).flatten(0, 1).permute(0, 3, 1, 2)), flat_target)
    move = flat_target.permute(0, 3, 1, 2) - grid.permute(2, 0, 1)
    height, width = images.shape[-2:]
    error_px = (move + back).norm(dim=1, keepdim=True) * half_diagonal(height, width)
    size = (len(flat), 1, height, width)
    view = torch.tensor((-1.0, 1.0), device=images.device).repeat(len(images))
    is_known = (known > 0).float().repeat_interleave(2)
    log_known = known.clamp_min(1e-3).log().repeat_interleave(2) * is_known
    planes = [p[:, None, None, None].expand(size) for p in (view, is_known, log_known)]
    parts = (
        flat * 2 - 1,
        other * 2 - 1,
        move * 10,
        (error_px + 0.1).log(),
        grid.permute(2, 0, 1).expand(len(flat), -1, -1, -1),
        *planes,
    )
    return torch.cat(parts, 1), error_px[:, 0].unflatten(0, (-1, 2))


def rigid_evidence(coarse: Tensor, target: Tensor, pose: Tensor, focal: Tensor) -> Tensor:
    """(2 B, 6, H / 4, W / 4) without gradient: image residual, displacement that explains it, log depth."""
    with torch.no_grad():
        rays, seen = match_ends(target)
        log_depth = F.interpolate(coarse, rays.shape[2:4], mode="bilinear")
        points = lift(log_depth.exp(), rays, focal)
        residual, shift = rigid_residual(points, pose, focal, seen)
        parts = (residual * 10, shift / points[..., 2:] * 10, log_depth[..., None])
        return torch.cat(parts, -1).clamp(-10, 10).flatten(0, 1).permute(0, 3, 1, 2)
