"""From the network's maps to points, at any size: the maps may be resampled, flow and rays have full detail."""

import torch
from torch import Tensor

from dpm_cli.network.mini.warp import (
    OFFSET_UNIT,
    half_diagonal,
    lift,
    normalised_grid,
    rigid_residual,
)


def corrected_flow(offset: Tensor, flow: Tensor) -> Tensor:
    """Flow (B, 2, H, W, 2) in pixels with the network's match offsets added.

    Args:
        offset: (B, 2, 2, H, W) of `MiniOutput.maps`.
        flow: (B, 2, H, W, 2) pixels of that size, as given to the network.
    """
    unit = OFFSET_UNIT * half_diagonal(*offset.shape[-2:])
    return flow + unit * offset.permute(0, 1, 3, 4, 2)


def without_offset(maps: Tensor) -> Tensor:
    """What `compose` takes (B, 2, 9, H, W) of `MiniOutput.maps` (B, 2, 11, H, W)."""
    return torch.cat((maps[:, :, :1], maps[:, :, 3:]), 2)


def compose(
    maps: Tensor,
    flow: Tensor,
    pose: Tensor,
    focal: Tensor,
    centre_px: tuple[float, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Points and displacement from the network's maps, at any size.

    Args:
        maps: (B, 2, 9, H, W), see `without_offset`.
        flow: (B, 2, H, W, 2) pixels of that size, as corrected by that offset, if it is.
        pose: (B, 6).
        focal: (B,) / half diagonal.
        centre_px: principal point (x, y); None = the image's centre, which the network was trained with.

    Returns:
        Points (B, 2, 2, H, W, 3) and displacement (B, 2, H, W, 3) from t_1 to t_2, in camera 1.
    """
    height, width = maps.shape[-2:]
    grid = normalised_grid(height, width, like=maps)
    if centre_px is not None:
        shift = (centre_px[0] - (width - 1) / 2, centre_px[1] - (height - 1) / 2)
        grid = grid - torch.tensor(shift, device=maps.device) / half_diagonal(height, width)
    log_depth, gate, free, _ = maps.split((1, 1, 3, 4), 2)
    target = grid + flow / half_diagonal(height, width)
    own = grid.expand_as(target[:, 0])
    rays = torch.stack((own, target[:, 1]), 1)
    depth = log_depth.squeeze(2).exp()
    points = lift(depth, rays, focal)
    with torch.no_grad():
        seen = torch.stack((target[:, 0], own), 1)
        explained = rigid_residual(points.detach(), pose.detach(), focal.detach(), seen)[1]
    free = free.permute(0, 1, 3, 4, 2) * depth.detach()[..., None]
    displacement = 0.3 * free + gate.squeeze(2)[..., None] * explained
    return torch.stack((points, points + displacement), 2), displacement
