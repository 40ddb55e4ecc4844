"""Bundle adjustment of aligned passes: what goes in from them, and whether its result is believed.

The depth that goes in is the fused depth of every frame on the flow's grid; the first frame of every shot stays where
it is. Where the flows agree on a world that is bent beyond belief, as flows of a still camera before moving things do,
nothing changes. What a depth prior says may pull at the depths too: where the camera hardly moves, or moves straight
on, the flows alone cannot tell a bent world from the right one.
"""

from dataclasses import dataclass, replace

import numpy as np

from dpm_cli.align.bundle import adjust
from dpm_cli.align.bundle_problem import FlowGrid
from dpm_cli.align.correction import DepthCorrection, confidence_change, smooth_correction
from dpm_cli.align.depth import fuse_log_depth
from dpm_cli.align.passes import Passes, views_of_frame
from dpm_cli.align.result import Alignment
from dpm_cli.structures import Cameras

_MOVING_SHARE = 0.5
"""Share of the passes that must see the camera move, else there is little parallax for flows to agree on."""
_BELIEVABLE = 0.4
"""Typical change of log depth beyond which a bundle adjustment is not believed. Of a still camera whose surroundings
were taken for moving it was 0.55, of clips whose truth it comes nearer 0.1 to 0.3."""


_CONTRADICTS = 3.0
"""Deviations between passes and a prior at which the prior's pull is halved."""


@dataclass(frozen=True, eq=False)
class ToldDepth:
    """What a prior says of every frame on the grid of the passes, in the world's scale."""

    log_depth: np.ndarray
    """(T, h, w) own-camera z."""
    sigma: np.ndarray
    """(T, h, w) expected relative error, infinite where it knows nothing."""


@dataclass(frozen=True, eq=False)
class Refined:
    """What the flows of all passes agree on."""

    cameras: Cameras
    correction: DepthCorrection
    """Of every frame's depth and confidence."""


def refine_on_flows(
    passes: Passes,
    flows: FlowGrid,
    found: Alignment,
    *,
    focal_sigma_log: float,
    told: ToldDepth | None = None,
) -> Refined | None:
    """Cameras, focal length and depth that the flows agree on; None where there is nothing to agree on.

    Args:
        passes: E passes.
        flows: of all of them, on the grid of `passes.log_depth`.
        found: their alignment.
        focal_sigma_log: deviation of log focal length that the flows may use, see `focal.flows.freedom`.
        told: a prior that has been believed; the confidence of the result does not count it.
    """
    used, cameras = found.usable, found.cameras
    moving = passes.status[used] == "ok"
    if not moving.any() or moving.mean() < _MOVING_SHARE:
        return None
    flows = flows.select(used)
    every, thin = flows.every(), flows.thinned()
    log_depth, sure = _fused(passes, found, every, len(cameras))
    free = cameras.registered & (np.diff(found.shot, prepend=-1) == 0)
    start, pull = (log_depth, sure) if told is None else _pulled(log_depth, sure, told, every)
    better = adjust(thin, cameras.cam2world, cameras.intrinsics, start, pull, free, focal_sigma_log)
    change = better.log_depth - log_depth
    by_flows = change[better.support > 0.5]
    if not by_flows.size and told is None:
        return None
    if by_flows.size and np.median(np.abs(by_flows - np.median(by_flows))) > _BELIEVABLE:
        return None
    correction = DepthCorrection(
        smooth_correction(change, better.support),
        confidence_change(sure, better.without_prior(sure)),
        (float(thin.pixels[0, 0, 0]), float(thin.pixels[0, 0, 1])),
        float(thin.spacing_px),
    )
    moved = replace(cameras, cam2world=better.cam2world, intrinsics=better.intrinsics)
    return Refined(moved, correction)


def _pulled(
    log_depth: np.ndarray, sure: np.ndarray, told: ToldDepth, every: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Log depth and confidence (T, h, w) of passes and prior together, by inverse variance."""
    said, sigma = told.log_depth[:, every, every], told.sigma[:, every, every]
    own, other = np.square(sure, dtype=np.float64), 1 / np.square(sigma, dtype=np.float64)
    off = np.where(other > 0, said - log_depth, 0)
    expected = 1 / np.maximum(own, 1e-6) + 1 / np.maximum(other, 1e-6)
    other = other / (1 + off**2 / (_CONTRADICTS**2 * expected))
    total = own + other
    return log_depth + off * other / np.maximum(total, 1e-12), np.sqrt(total)


def _fused(
    passes: Passes, found: Alignment, every: slice, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log depth and confidence (T, h, w) float32 of every frame, world units, at some rows and columns of the grid."""
    depth, confidence = passes.log_depth[..., every, every], passes.confidence[..., every, every]
    scaled = depth + found.view_log_scale[..., None, None].astype(np.float32)
    fused = []
    for t in range(frames):
        e, v = views_of_frame(passes.pairs, found.usable, t).T
        fused.append(fuse_log_depth(scaled[e, v], confidence[e, v]))
    log_depth, sure = (np.stack(maps) for maps in zip(*fused, strict=True))
    return log_depth, sure
