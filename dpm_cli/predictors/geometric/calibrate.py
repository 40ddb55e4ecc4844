"""A focal length for the whole clip from its own flow, and the strides at which the clip shows parallax.

For every candidate focal length the pose of several well-conditioned pairs is refined and its robust negative log
likelihood taken: an essential matrix has two equal singular values only at the true focal length, and a rotation
is a rotation only there. The sum over pairs and a weak prior on the field of view give a posterior over candidates; a
clip that cannot tell (a still camera, a pure translation along the axis) leaves the prior, and that is said.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry import camera, rigid
from dpm_cli.predictors.geometric import epipolar, matching, pose, robust, turning
from dpm_cli.structures import FrameReader

PRIOR_FOV_DEG = 57.0
"""Horizontal field of view of an unknown camera."""
PRIOR_SIGMA = 0.3
"""Of the logarithm of its focal length."""
_FOV_RANGE_DEG = (25.0, 100.0)
_CANDIDATES = 17
_ANCHORS = 8
_STRIDES = (16, 8, 4, 2, 1)
_PAIR_CAP = 12.0
"""Most that one pair may say against a candidate, in log likelihood: a pair with a wrong pose is outvoted."""


@dataclass(frozen=True)
class Calibration:
    """What `prepare` found out about a clip."""

    focal_px: float
    log_sigma: float
    """Standard deviation of log focal length; `PRIOR_SIGMA` if the clip says nothing."""
    strides: tuple[int, ...]
    """Strides that were matched well at the anchors, one for every anchor."""
    status: tuple[str, ...]
    """What each anchor pair was: ok, rotation, still, untextured."""

    @property
    def informed(self) -> bool:
        """True if the clip itself narrowed the focal length."""
        return self.log_sigma < 0.7 * PRIOR_SIGMA

    def note(self, width: int) -> str:
        """One line for people."""
        fov = camera.fov_from_focal(self.focal_px, width)
        kinds = ", ".join(f"{self.status.count(s)} {s}" for s in dict.fromkeys(self.status))
        if self.informed:
            error = 100 * self.log_sigma
            return f"focal {self.focal_px:.0f} px (field of view {fov:.0f} deg) +-{error:.0f} % from the clip ({kinds})"
        return f"focal length cannot be told from this clip ({kinds}); taking a field of view of {fov:.0f} deg"


def calibrate(frames: FrameReader, size: tuple[int, int]) -> Calibration:
    """Shared focal length of a clip of (height, width) working images, square pixels, centred principal point."""
    height, width = size
    prior_px = camera.focal_from_fov(PRIOR_FOV_DEG, width)
    picked = [_pick_pair(frames, int(a)) for a in _anchors(len(frames))]
    if not picked:
        return Calibration(prior_px, PRIOR_SIGMA, (), ())
    centre = torch.tensor(((width - 1) / 2, (height - 1) / 2), dtype=torch.float64)
    parts = [matching.thin(match, centre, count=800) for _, match in picked]
    matches = epipolar.join(parts)
    start = pose.estimate(matches, torch.full((len(parts),), prior_px, dtype=torch.float64))
    low, high = (camera.focal_from_fov(f, width) for f in reversed(_FOV_RANGE_DEG))
    focals = torch.linspace(math.log(low), math.log(high), _CANDIDATES, dtype=torch.float64).exp()
    surprise = _surprise(matches, start, prior_px, focals)
    focal_px, log_sigma = _posterior(surprise, focals, prior_px)
    return Calibration(focal_px, log_sigma, tuple(s for s, _ in picked), start.status)


def _anchors(frames: int) -> np.ndarray:
    """Frames at which a pair may start."""
    return np.unique(np.linspace(0, max(frames - 2, 0), min(_ANCHORS, frames - 1)).astype(int))


def _pick_pair(frames: FrameReader, anchor: int) -> tuple[int, matching.DenseMatch]:
    """The longest stride that still matches 65 % of the anchor's picture, and its matches."""
    strides = [s for s in _STRIDES if s < max(len(frames) - anchor, 2)]
    best: tuple[float, int, matching.DenseMatch] | None = None
    for stride in strides:
        grey = _grey(frames.read([anchor, anchor + stride]))
        tensors = matching.structure_tensor(grey.float())
        match = matching.dense_match(grey[None], tensors[None])
        share = float(match.consistent.float().mean())
        if best is None or share > best[0]:
            best = (share, stride, match)
        if share > 0.65:
            break
    assert best is not None
    return best[1], best[2]


def _grey(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in images]))


def _surprise(
    matches: epipolar.Matches, start: pose.PairPose, start_px: float, focals: Tensor
) -> Tensor:
    """Negative log likelihood (pairs, candidates) after refining each pose at each focal length."""
    count, batch = len(focals), len(matches.weight)
    index = torch.arange(batch).repeat_interleave(count)
    focal = focals.repeat(batch)
    many = matches[index]
    # What stays the same in the picture when the focal length changes: f times a small turn about x or y, and f t_xy / t_z.
    ratio = start_px / focal
    scale = torch.stack((ratio, ratio, torch.ones_like(ratio)), 1)
    R = rigid.so3_exp(scale * _axis_angle(start.rotation)[index])
    t = torch.nn.functional.normalize(scale * start.translation[index], dim=-1)
    moving = torch.tensor([s == "ok" for s in start.status])
    informative = torch.tensor([s in ("ok", "rotation") for s in start.status])
    fits = (
        epipolar.refine(R, torch.where(moving[index, None], t, torch.eye(3).double()[0]), many, focal),
        turning.refine_rotation(R, many, focal),
    )
    weight = many.weight.flatten(1)
    costs = []
    for fit in fits:
        noise = fit.noise.view(batch, count).amin(1).repeat_interleave(count)
        costs.append(4.5 * (weight * robust.geman_mcclure(fit.residuals, 3 * noise)).sum(1))
    cost = torch.where(moving[index], costs[0], costs[1]).view(batch, count) / pose.CORRELATED
    cost = cost - cost.amin(1, keepdim=True)
    return torch.where(informative[:, None], cost.clamp_max(_PAIR_CAP), torch.zeros_like(cost))


def _axis_angle(rotation: Tensor) -> Tensor:
    """Axis-angle vectors (B, 3) of rotations by less than 90 degrees."""
    skew = (rotation - rotation.mT) / 2
    vector = torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), -1)
    sine = vector.norm(dim=-1, keepdim=True).clamp(1e-12, 1)
    return vector * sine.asin() / sine


def _posterior(surprise: Tensor, focals: Tensor, prior_px: float) -> tuple[float, float]:
    """Focal length and standard deviation of its logarithm from pairs' surprise (pairs, candidates) and the prior."""
    off = (focals.log() - math.log(prior_px)) / PRIOR_SIGMA
    total = surprise.sum(0) + 0.5 * off.square()
    fine = torch.linspace(0, len(focals) - 1, 20 * (len(focals) - 1) + 1, dtype=total.dtype)
    curve = _parabolic(total, fine)
    log_f = torch.lerp(focals.log()[0], focals.log()[-1], fine / (len(focals) - 1))
    probability = torch.softmax(-curve, 0)
    mean = (probability * log_f).sum()
    sigma = (probability * (log_f - mean).square()).sum().sqrt()
    return float(mean.exp()), float(sigma)


def _parabolic(values: Tensor, at: Tensor) -> Tensor:
    """Values (K,) at fractional indices, by the parabola through the nearest three."""
    centre = at.round().long().clamp(1, len(values) - 2)
    x = at - centre
    left, middle, right = values[centre - 1], values[centre], values[centre + 1]
    return middle + 0.5 * x * (right - left) + 0.5 * x * x * (left + right - 2 * middle)
