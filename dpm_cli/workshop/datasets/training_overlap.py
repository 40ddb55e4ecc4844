"""How much of a pair's first image the second one sees, also where truth is sparse or knows no motion."""

from torch import Tensor

from dpm_cli.geometry.camera import project_map
from dpm_cli.geometry.rigid import transform_map
from dpm_cli.structures import PairTruth

_AGREES = 1.1
"""Depths this factor apart are of different surfaces."""


def shared_view(truth: PairTruth) -> Tensor:
    """Share (B,) of image 1's known pixels that fall into image 2 and are not hidden there, as if nothing moved.

    `truth.visible` cannot say it: it is false where the truth knows no motion, and where depth is as sparse as LiDAR's.
    """
    known = truth.valid[:, 0, 0]
    seen = transform_map(truth.cam2_from_cam1, truth.points[:, 0, 0])
    pixel = project_map(seen, truth.intrinsics[:, 1]).round()
    height, width = known.shape[1:]
    inside = (pixel >= 0).all(-1) & (pixel[..., 0] < width) & (pixel[..., 1] < height)
    inside = inside & (seen[..., 2] > 0) & known
    own = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])[..., 2]
    own = own.masked_fill(~truth.valid[:, 1, 1], 0).flatten(1)
    x, y = pixel[..., 0].clamp(0, width - 1).long(), pixel[..., 1].clamp(0, height - 1).long()
    there = own.gather(1, (y * width + x).flatten(1)).view_as(seen[..., 2])
    ratio = seen[..., 2].clamp_min(1e-6) / there.clamp_min(1e-6)
    another = (there > 0) & ((ratio > _AGREES) | (ratio < 1 / _AGREES))
    return (inside & ~another).flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)
