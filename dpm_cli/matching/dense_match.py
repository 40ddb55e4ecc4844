"""Dense flow both ways and what is known of its error.

The covariance of a flow vector follows from the image: least-squares patch matching with grey-level noise s has
C = s^2 (sum of gradient outer products over the patch)^-1 (Foerstner 1987), so along an edge the flow is all but
unknown and across it well known. To it come a floor and the forward-backward error near by, which also sees what
texture cannot and is by far the best single predictor of the flow's error (by likelihood on rendered clips, where the
constants are from).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.matching.compensate import compensate
from dpm_cli.matching.dis import Preset, consistency_error, dis_flow
from dpm_cli.matching.seeds import flow_starts

GREY_NOISE = 2.0
"""Grey levels (0..255) by which the same point differs between two images: noise, compression, shading."""
PATCH = 9
FLOOR_PX = 0.10
LOST_SHARE = 0.65
"""Share of pixels that must come back, else the flow is taken to be lost somewhere; a rigid scene seen with
two thirds of overlap has more."""


@dataclass(frozen=True, eq=False)
class DenseMatch:
    """Flow of B pairs with its error model; index 0 of the second axis is image 1 to 2, index 1 image 2 to 1."""

    flow: Tensor
    """(B, 2, H, W, 2) pixels."""
    error: Tensor
    """(B, 2, H, W) forward-backward error, pixels."""
    covariance: Tensor
    """(B, 2, H, W, 3) xx, xy, yy in px^2."""
    consistent: Tensor
    """(B, 2, H, W) bool: lands inside the other image and comes back."""


def structure_tensor(grey: Tensor) -> Tensor:
    """Mean gradient outer product (B, 3, H, W) = xx, xy, yy over a patch; grey (B, H, W) in 0..255."""
    padded = torch.nn.functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    gx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    gy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return box(torch.stack((gx * gx, gx * gy, gy * gy), 1), PATCH)


def box(maps: Tensor, size: int) -> Tensor:
    """Mean over size x size pixels of maps (B, C, H, W); windows are cut at the border."""
    pool = torch.nn.functional.avg_pool2d
    half = size // 2
    rows = pool(maps, (size, 1), 1, (half, 0), count_include_pad=False)
    return pool(rows, (1, size), 1, (0, half), count_include_pad=False)


def dense_match(grey: Tensor, tensors: Tensor, *, seeded: bool = True) -> DenseMatch:
    """Match images grey (B, 2, H, W) uint8, with their structure tensors (B, 2, 3, H, W); `flow_both_ways`."""
    flows = [flow_both_ways(a, "fine", seeded=seeded) for a in grey.cpu().numpy()]
    flow = torch.stack(flows).to(grey.device)
    error = consistency_error(flow)
    smooth = _around(error.flatten(0, 1).clamp_max(8).square()).view_as(error)
    return DenseMatch(flow, error, _covariance(tensors, smooth), _consistent(flow, error))


def flow_both_ways(images: np.ndarray, preset: Preset, *, seeded: bool = True) -> Tensor:
    """DIS flow (2, H, W, 2) of images (2, H, W) uint8, 1 to 2 and 2 to 1.

    Where little comes back it is sought again from a start by features, if `seeded`; what comes back more stays. Then
    it is measured again without the common motion.
    """
    flow = _found_flow(images, preset, seeded)
    good = _consistent(flow[None], consistency_error(flow[None]))[0]
    return compensate(images, flow, good, preset, _around)


def _found_flow(images: np.ndarray, preset: Preset, seeded: bool) -> Tensor:
    """Flow (2, H, W, 2) from nothing, or from features where that is lost."""

    def flows(starts) -> Tensor:
        found = [dis_flow(images[v], images[1 - v], preset, starts[v]) for v in (0, 1)]
        return torch.from_numpy(np.stack(found))

    def share(flow: Tensor) -> float:
        return float(_consistent(flow[None], consistency_error(flow[None])).float().mean())

    plain = flows((None, None))
    if not seeded or (matched := share(plain)) >= LOST_SHARE:
        return plain
    starts = flow_starts(images[0], images[1])
    if starts is None:
        return plain
    again = flows(starts)
    return again if share(again) > matched else plain


def _around(maps: Tensor) -> Tensor:
    """Mean of maps (N, H, W) over what shares one error of the flow."""
    return box(maps[:, None], 11)[:, 0]


def _consistent(flow: Tensor, error: Tensor) -> Tensor:
    """(B, 2, H, W): lands inside and comes back; flow (B, 2, H, W, 2), error (B, 2, H, W)."""
    height, width = flow.shape[2:4]
    target = pixel_grid(height, width, device=flow.device) + flow
    limit = torch.tensor((width - 1, height - 1), dtype=flow.dtype, device=flow.device)
    inside = ((target >= 0) & (target <= limit)).all(-1)
    return inside & (error < 0.7 + 0.03 * flow.norm(dim=-1))


def _covariance(tensors: Tensor, error2: Tensor) -> Tensor:
    """(B, 2, H, W, 3) from structure tensors (B, 2, 3, H, W) and squared forward-backward error (B, 2, H, W)."""
    sxx, sxy, syy = (PATCH**2 * tensors).unbind(2)
    # What keeps the inverse finite: flow is smooth, so texture alone makes it nowhere worse than about 1 px.
    prior = GREY_NOISE**2
    sxx, syy = sxx + prior, syy + prior
    scale = GREY_NOISE**2 / (sxx * syy - sxy * sxy).clamp_min(1e-9)
    floor = FLOOR_PX**2 + 2 * error2
    return torch.stack((scale * syy + floor, -scale * sxy, scale * sxx + floor), -1)
