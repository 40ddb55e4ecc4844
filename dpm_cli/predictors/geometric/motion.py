"""Which pixels move by themselves: log odds from what a static world cannot explain, then carried over the surface.

Two observations speak: the flow's distance from its epipolar line, and an inverse depth that is surely negative. A
static pixel leaves only flow noise; a mover adds a displacement of unknown direction, of the order of `MOTION_PX`.
Where the flow is uncertain both say the same and the odds stay at the prior. Motion along the epipolar line is
invisible to two views.
"""

from torch import Tensor

from dpm_cli.predictors.geometric.complete import complete
from dpm_cli.twoview.triangulate import InverseDepth

MOTION_PX = 4.0
"""Typical own motion of a mover between two frames, pixels at 512 wide."""
PRIOR = -0.5
"""Log odds of motion before anything is seen."""


def evidence(parallax: InverseDepth, noise: Tensor, width: int) -> Tensor:
    """Log likelihood ratio (N, H, W) of moving against static; `noise` (N,) scales the flow's deviations."""
    variance = noise.square()[:, None, None]
    chi2 = parallax.chi2 / variance
    sigma2_px = parallax.offset_px.square() / parallax.chi2.clamp_min(1e-6) * variance
    spread = 1 + (MOTION_PX * width / 512) ** 2 / sigma2_px.clamp_min(1e-3)
    sideways = 0.5 * chi2 * (1 - 1 / spread) - 0.5 * spread.log()
    behind = (parallax.inverse_depth / parallax.sigma).clamp(-6, 0).square() / variance
    return (sideways + (0.5 * behind - 1).clamp_min(0)).clamp(-3, 6)


def carry(log_ratio: Tensor, weight: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Log odds (N, H, W): evidence averaged over what looks like one surface, plus the prior.

    `weight` (N, H, W) is 0 where the flow says nothing; `right` and `down` are links in 0..1.
    """
    strength = 8.0
    smooth = complete(
        log_ratio, 0.05 * weight, strength * right, strength * down, rounds=1, finest=1
    )
    return smooth + PRIOR
