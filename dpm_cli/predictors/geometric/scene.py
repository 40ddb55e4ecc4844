"""From flow and camera to the depth, the motion and the certainty of every pixel of both views.

Everything is per view (N = 2 B: image 1 of pair 0, image 2 of pair 0, image 1 of pair 1, ...) in the view's own camera.
Without a baseline the same steps run with a translation of zero: the flow then explains itself by rotation or as
motion, and depth is the prior.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.matching.dense_match import DenseMatch
from dpm_cli.predictors.geometric.complete import complete
from dpm_cli.predictors.geometric.motion import carry, evidence
from dpm_cli.predictors.geometric.movers import contact_links
from dpm_cli.predictors.geometric.prior import inverse_depth_prior
from dpm_cli.twoview.matches import both_ways
from dpm_cli.twoview.pose import PairPose
from dpm_cli.twoview.triangulate import InverseDepth, triangulate

ROUGHNESS = 0.02
"""Neighbouring pixels of one surface differ in inverse depth by about this much of its median."""
JUMP = 3.0
"""Deviations of roughness between neighbours that are taken for the edge of a surface."""
CORRELATED = 25.0
"""Pixels that share one flow error; the weight of each is divided by it."""
PRIOR_SPREAD = 1.5
"""Deviation of one pixel's pull towards the prior, relative to the median: felt only where data are far or weak."""
FARTHEST = 0.05
"""Smallest inverse depth handed out, relative to the median."""
INFINITY = 0.06
"""Inverse depth relative to the median below which a pixel is taken for sky."""


@dataclass(frozen=True, eq=False)
class PairScene:
    """N views; inverse depth in units that make its median 1."""

    inverse_depth: Tensor
    """(N, H, W) positive."""
    relative_sigma: Tensor
    """(N, H, W) expected relative error of depth."""
    motion_odds: Tensor
    """(N, H, W) log odds that the pixel moves by itself."""
    valid_odds: Tensor
    """(N, H, W) log odds that the pixel is not at infinity."""
    rotation: Tensor
    """(N, 3, 3) the other camera from this view's."""
    translation: Tensor
    """(N, 3) in the units of the depth; 0 without a baseline."""


def reconstruct(
    match: DenseMatch, links: Tensor, pose: PairPose, focal_px: Tensor, centre: Tensor
) -> PairScene:
    """PairScene of B pairs from dense matches, image links (B, 2, 2, H, W), poses and focal (B,) px."""
    R, t = (x.flatten(0, 1).float() for x in both_ways(pose.rotation, pose.translation))
    focal = focal_px.float().repeat_interleave(2)
    noise = pose.noise.float().repeat_interleave(2)
    sigma_R = pose.sigma[:, 0].float().repeat_interleave(2)
    flow, covariance = match.flow.flatten(0, 1), match.covariance.flatten(0, 1)
    parallax = triangulate(flow, covariance, R, t, focal, centre.float(), sigma_R)
    right, down = links.flatten(0, 1).unbind(1)
    seen = match.consistent.flatten(0, 1).float()
    odds = carry(evidence(parallax, noise, flow.shape[2]), seen, right, down)
    baseline = (t.norm(dim=-1) > 0)[:, None, None]
    median = torch.where(baseline, _typical(parallax, seen, odds), 1.0)
    rho, weight = _static_depth(parallax, seen, odds, noise, median, right, down)
    prior = inverse_depth_prior(*rho.shape[1:], device=rho.device)
    rho = torch.where(baseline, rho / median, prior)
    valid_odds = ((rho - INFINITY) * 60).clamp(-4, 4)
    rho = rho.clamp_min(FARTHEST)
    sigma = _relative_sigma(rho, weight, baseline)
    return PairScene(rho, sigma, odds, valid_odds, R, t * median[:, 0])


def _typical(parallax: InverseDepth, seen: Tensor, odds: Tensor) -> Tensor:
    """Median inverse depth (N, 1, 1) of what is surely static, one number for both views of a pair."""
    good = (seen > 0) & (odds < 0) & (parallax.inverse_depth > 2 * parallax.sigma)
    rho = parallax.inverse_depth.masked_fill(~good, torch.nan)
    both = rho.flatten(1).unflatten(0, (-1, 2)).flatten(1)
    median = both.nanmedian(dim=1).values.nan_to_num(1.0).clamp_min(1e-4)
    return median.repeat_interleave(2)[:, None, None]


def _static_depth(
    parallax: InverseDepth,
    seen: Tensor,
    odds: Tensor,
    noise: Tensor,
    median: Tensor,
    right: Tensor,
    down: Tensor,
) -> tuple[Tensor, Tensor]:
    """Completed inverse depth (N, H, W) and the weight of its data relative to the median squared."""
    sigma = parallax.sigma * noise[:, None, None]
    static = torch.where(odds > 0, 0.0, 1 - torch.exp(odds.clamp_max(0)))
    weight = seen * static / sigma.square().clamp_min(1e-12) / CORRELATED
    right, down = contact_links(right, down, odds > 0)
    stiffness = 1 / (ROUGHNESS * median).square()
    pull = 1 / (PRIOR_SPREAD * median).square()
    flat = inverse_depth_prior(*seen.shape[1:], device=seen.device) * median
    data = weight * (parallax.inverse_depth - flat) / (weight + pull)
    jump = JUMP * ROUGHNESS * median
    rho = flat + complete(data, weight + pull, right * stiffness, down * stiffness, jump=jump)
    return rho, weight * median.square()


def _relative_sigma(rho: Tensor, weight: Tensor, baseline: Tensor) -> Tensor:
    """Expected relative error of depth: data near by, or how far away the next data are."""
    variance = torch.full_like(rho, 0.16)
    level, size = weight[:, None], 1
    while min(level.shape[2:]) > 4:
        total = torch.nn.functional.interpolate(level, size=rho.shape[1:], mode="bilinear")[:, 0]
        here = 1 / (total * size * size).clamp_min(1e-9) + (ROUGHNESS * size) ** 2
        variance = torch.minimum(variance, here / rho.square())
        level = torch.nn.functional.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        size *= 2
    return torch.where(baseline, (variance + 0.02**2).sqrt(), 0.4)
