"""Optical flow: measured where it comes back, from geometry where it does not, if the geometry deserves it.

A pixel that gets hidden or leaves the picture cannot be found again, but if it is static its depth and the camera say
where it goes. A wrong camera says nonsense, and loudest where nothing was measured, so geometry is asked only where
it already explains enough of what was measured, and believed only as far as it stays within what was measured.
"""

import torch
from torch import Tensor

from dpm_cli.geometry import camera, rigid
from dpm_cli.matching.dense_match import DenseMatch
from dpm_cli.predictors.geometric.scene import PairScene

LOST_PX = 2.0
"""Forward-backward error, plus 5 % of the flow, beyond which a pixel is taken for lost."""
TRUSTED_SHARE = 0.25
"""Share of a view's pixels that must come back and be explained as static before the rest is filled."""
LONGEST = 1.5
"""Longest flow that is filled in, of the longest (99 %) of the static pixels that came back."""
KNOWN_DEPTH = 0.25
"""Expected relative error of depth above which it is more prior than data: no ground to overrule a flow that at
least stays in the picture. A camera that only turns needs no depth."""
NEAREST = 0.1
"""Depth in the other camera, of that in its own, below which the projection blows up."""
_THIN = 4


def fill_flow(
    own: Tensor,
    other_from_this: Tensor,
    match: DenseMatch,
    scene: PairScene,
    focal_px: Tensor,
    centre: Tensor,
) -> Tensor:
    """Flow (N, H, W, 2) of N = 2 B views with points `own` (N, H, W, 3), other camera (N, 4, 4), focal (N,) px."""
    seen = rigid.transform_map(other_from_this, own)
    z = seen[..., 2:].clamp_min(1e-2)
    pixels = camera.pixel_grid(*own.shape[1:3], device=own.device)
    rigid_flow = seen[..., :2] / z * focal_px[:, None, None, None] + centre - pixels
    measured, error = match.flow.flatten(0, 1), match.error.flatten(0, 1)
    length = measured.norm(dim=-1)
    size = torch.tensor((own.shape[2] - 1, own.shape[1] - 1), device=own.device)
    inside = [((p >= 0) & (p <= size)).all(-1) for p in (pixels + measured, pixels + rigid_flow)]
    lost = ~(inside[0] & inside[1]) | (error > LOST_PX + 0.05 * length)
    static = scene.motion_odds < 0
    limit = _longest(length, match.consistent.flatten(0, 1) & static)
    sane = (rigid_flow.norm(dim=-1) <= limit) & (seen[..., 2] > NEAREST * own[..., 2])
    depthless = (scene.translation.norm(dim=-1) == 0)[:, None, None]
    known = depthless | (scene.relative_sigma < KNOWN_DEPTH) | ~inside[1]
    return torch.where((lost & static & sane & known)[..., None], rigid_flow, measured)


def _longest(length: Tensor, explained: Tensor) -> Tensor:
    """Longest flow (N, 1, 1) that may be filled in; negative where too little is explained to fill at all."""
    thin = (slice(None), slice(None, None, _THIN), slice(None, None, _THIN))
    good = explained[thin].flatten(1)
    flow = length[thin].flatten(1).masked_fill(~good, torch.nan)
    limit = LONGEST * flow.nanquantile(0.99, dim=1).nan_to_num(0.0)
    trusted = good.float().mean(1) >= TRUSTED_SHARE
    return torch.where(trusted, limit, -1.0)[:, None, None]
