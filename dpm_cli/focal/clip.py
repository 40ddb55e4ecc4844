"""A focal length for the whole clip from its own flow.

For every candidate focal length the pose of several well-conditioned pairs is refined and its robust negative log
likelihood taken: an essential matrix has two equal singular values only at the true focal length, and a rotation
is a rotation only there. The sum over pairs and a weak prior on the field of view give a posterior over candidates; a
clip that cannot tell (a still camera, a pure translation along the axis) leaves the prior, and that is said.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.geometry import camera, rigid
from dpm_cli.matching.dense_match import DenseMatch, dense_match, structure_tensor
from dpm_cli.matching.dis import dis_flow
from dpm_cli.matching.interpolate import trusted
from dpm_cli.matching.matcher import Matcher
from dpm_cli.structures import FrameReader
from dpm_cli.twoview import epipolar, minimise, pose
from dpm_cli.twoview import rotation as turning
from dpm_cli.twoview.matches import Matches, join

PRIOR_FOV_DEG = 57.0
"""Horizontal field of view of an unknown camera."""
PRIOR_SIGMA = 0.3
"""Of the logarithm of its focal length."""
_INFORMED = 0.7
"""Share of the prior's deviation that the clip must get below to have said something itself."""
_EXACT = 0.1
"""Deviation of log focal length below which a guess would change little, and is not asked for."""
_FOV_RANGE_DEG = (25.0, 100.0)
_START_FOV_DEG = (42.0, 74.0)
"""Poses are searched at these fields of view; at a wrong one a mover may explain more than the background."""
_CANDIDATES = 12
_ANCHORS = 8
_STRIDES = (16, 8, 4, 2, 1)
_OVERLAP = 0.65
"""Share of the picture that must be matched for a stride to be long enough."""
_SHARPEST = 0.06
"""Least deviation of log focal length that one pair may claim: the candidates lie 0.15 apart."""
_COMMON = 0.05
"""Deviation of log focal length that many pairs cannot beat: errors of flow repeat from pair to pair."""
_CORRELATED = 30.0
"""Matches that share one error, and what else makes the likelihood of a focal length too sharp."""
_PAIR_CAP = 8.0
"""Most that one pair may say against a candidate, in log likelihood: a pair with a wrong pose is outvoted."""


def find_focal(
    frames: FrameReader,
    size: tuple[int, int],
    matcher: Matcher,
    guess: Callable[[], FocalEstimate] | None = None,
    camera_word: FocalEstimate | None = None,
) -> FocalEstimate:
    """Focal length of a clip of (height, width) working images: its own geometry, on a guess where that is vague.

    `matcher` has begun with the clip. `guess` is a predictor's, and is asked only where it would change much. What the
    camera wrote is better than a guess, and takes its place.
    """
    own = clip_focal(frames, size, matcher)
    if camera_word is not None:
        both = on_guess(own, camera_word, size[1])
        seen = ", and the clip: ".join(s for s in (camera_word.seen, own.seen) if s)
        return replace(both, source="camera", seen=seen)
    if guess is None or own.sigma_log <= _EXACT:
        return own
    return on_guess(own, guess(), size[1])


def on_guess(own: FocalEstimate, guess: FocalEstimate, width: int) -> FocalEstimate:
    """The clip's evidence on a better prior: a guess from elsewhere takes the place of `PRIOR_FOV_DEG`.

    All are taken as normal in log focal length; the guess's deviation is at most `PRIOR_SIGMA`; `width` in pixels. The
    source is the clip where it said something by itself, else the guess's.
    """
    prior = math.log(camera.focal_from_fov(PRIOR_FOV_DEG, width))
    means = (math.log(own.focal_px), prior, math.log(guess.focal_px))
    precisions = (own.sigma_log**-2, -(PRIOR_SIGMA**-2), guess.sigma_log**-2)
    total = sum(precisions)
    mean = sum(m * p for m, p in zip(means, precisions, strict=True)) / total
    source = "clip" if own.source == "clip" else guess.source
    return FocalEstimate(math.exp(mean), total**-0.5, source, own.seen)


def clip_focal(frames: FrameReader, size: tuple[int, int], matcher: Matcher) -> FocalEstimate:
    """Shared focal length of a clip of (height, width) working images, square pixels, centred principal point."""
    height, width = size
    prior_px = camera.focal_from_fov(PRIOR_FOV_DEG, width)
    anchors = _anchors(len(frames)).tolist()
    with ThreadPoolExecutor(matcher.workers) as pool:
        picked = list(pool.map(lambda a: _pick_pair(frames, a, matcher), anchors))
    if not picked:
        return _told(prior_px, PRIOR_SIGMA, ())
    centre = torch.tensor(((width - 1) / 2, (height - 1) / 2), dtype=torch.float64)
    parts = [Matches.of_flow(m.flow, m.covariance, m.consistent, centre, count=300) for m in picked]
    matches = join(parts)
    low, high = (camera.focal_from_fov(f, width) for f in reversed(_FOV_RANGE_DEG))
    focals = torch.linspace(math.log(low), math.log(high), _CANDIDATES, dtype=torch.float64).exp()
    surprise = _surprise(matches, [camera.focal_from_fov(f, width) for f in _START_FOV_DEG], focals)
    focal_px, log_sigma = _posterior(surprise, focals, prior_px)
    final = pose.estimate(matches, torch.full((len(parts),), focal_px).double())
    return _told(focal_px, log_sigma, final.status)


def _told(focal_px: float, sigma_log: float, status: tuple[str, ...]) -> FocalEstimate:
    """Whether the clip or the prior says so follows from the deviation; `status` is what the pairs were."""
    seen = ", ".join(f"{status.count(s)} {s}" for s in dict.fromkeys(status))
    source = "clip" if sigma_log < _INFORMED * PRIOR_SIGMA else "assumed"
    return FocalEstimate(focal_px, sigma_log, source, seen)


def _anchors(frames: int) -> np.ndarray:
    """Frames at which a pair may start."""
    return np.unique(np.linspace(0, max(frames - 2, 0), min(_ANCHORS, frames - 1)).astype(int))


def _pick_pair(frames: FrameReader, anchor: int, matcher: Matcher) -> DenseMatch:
    """Matches of the anchor at the longest stride that still matches two thirds of its picture."""
    strides = [s for s in _STRIDES if s < max(len(frames) - anchor, 2)]
    shares = []
    for stride in strides:
        grey = _grey(frames.read([anchor, anchor + stride]))
        shares.append(_matched(*grey))
        if shares[-1] > _OVERLAP:
            break
    stride = strides[int(np.argmax(shares))]
    pair = frames.read([anchor, anchor + stride])
    images = torch.from_numpy(pair).permute(0, 3, 1, 2).float() / 255
    tensors = structure_tensor(torch.from_numpy(_grey(pair)).float())
    rows = torch.tensor([[anchor, anchor + stride]])
    return dense_match(matcher.flows(images[:1], images[1:], rows), tensors[None])


def _matched(grey_1: np.ndarray, grey_2: np.ndarray) -> float:
    """Share of image 1 (H, W) uint8 whose plain flow comes back; cheap, for the choice of the stride only."""
    return float(trusted(dis_flow(grey_1, grey_2), dis_flow(grey_2, grey_1)).mean())


def _grey(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in images])


def _surprise(matches: Matches, starts_px: list[float], focals: Tensor) -> Tensor:
    """Negative log likelihood (pairs, candidates), at most `_PAIR_CAP` against any candidate.

    The moving model is tried at every candidate. The turning one has its focal length as an unknown, for its minimum
    is sharp; where few matches need more than a turn, it alone speaks for the pair: an essential matrix explains a
    rotation at any focal length, and what it gains there is the flow's own errors.
    """
    pairs = len(matches.weight)
    poses = [pose.estimate(matches, torch.full((pairs,), px).double()) for px in starts_px]
    noise = torch.stack([p.noise for p in poses]).amin(0).clamp_min(pose.LEAST_NOISE)
    found = [_moving(matches, p, px, focals, noise) for p, px in zip(poses, starts_px, strict=True)]
    cost, left = (torch.stack(x) for x in zip(*found, strict=True))
    moving, best = cost.amin(0), cost.amin(2).argmin(0)
    turn = _turning(matches, poses, starts_px, noise)
    moved = left[best, torch.arange(pairs)]
    share = pose.only_moving_explains(moved, turn.residuals, matches.weight.flatten(1), noise)
    off = (focals.log() - turn.log_focal[:, None]) / turn.sigma_log[:, None]
    surprise = torch.where(
        (share < pose.PARALLAX_SHARE)[:, None],
        0.5 * off.square(),
        moving - moving.amin(1, keepdim=True),
    )
    known = torch.tensor([s not in ("still", "untextured") for s in poses[0].status])
    return surprise.clamp_max(_PAIR_CAP) * known[:, None]


def _moving(
    matches: Matches, start: pose.PairPose, start_px: float, focals: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The moving model refined at each focal length from a pose found at `start_px`.

    Returns its cost (pairs, candidates), and what it leaves (pairs, 2 M, 1) at the best one.
    """
    count, batch = len(focals), len(matches.weight)
    index = torch.arange(batch).repeat_interleave(count)
    focal = focals.repeat(batch)
    # In the picture stays the same: f times a small turn about x or y, and f t_xy / t_z.
    ratio = start_px / focal
    scale = torch.stack((ratio, ratio, torch.ones_like(ratio)), 1)
    R = rigid.so3_exp(scale * rigid.so3_log(start.rotation)[index])
    guess = start.translation + 1e-3 * torch.eye(3, dtype=torch.float64)[0]
    t = torch.nn.functional.normalize(scale * guess[index], dim=-1)
    fit = epipolar.refine(R, t, matches[index], focal, iterations=6)
    unseen = epipolar.behind(fit.state["rotation"], fit.state["translation"], matches[index], focal)
    cost = _cost(fit, matches[index], noise[index], unseen).view(batch, count)
    left = fit.residuals.masked_fill(unseen[..., None], pose.UNEXPLAINED)
    return cost, left.unflatten(0, (batch, count))[torch.arange(batch), cost.argmin(1)]


@dataclass(frozen=True, eq=False)
class _Turn:
    """The turning model of P pairs, its focal length free."""

    log_focal: Tensor
    """(P,)."""
    sigma_log: Tensor
    """(P,) its deviation."""
    residuals: Tensor
    """(P, 2 M, 2) whitened."""


def _turning(
    matches: Matches, starts: list[pose.PairPose], starts_px: list[float], noise: Tensor
) -> _Turn:
    """The best of all starts."""
    found = []
    for start, px in zip(starts, starts_px, strict=True):
        fit = turning.refine_with_focal(start.rotation, matches, torch.full_like(noise, px))
        spread = (fit.covariance[:, 3, 3] * _CORRELATED).sqrt().clamp_min(_SHARPEST)
        cost = _cost(fit, matches, noise)
        found.append((cost, fit.state["log_focal"], spread, fit.residuals))
    cost, log_focal, spread, left = (torch.stack(x) for x in zip(*found, strict=True))
    best, every = cost.argmin(0), torch.arange(len(noise))
    return _Turn(log_focal[best, every], spread[best, every], left[best, every])


def _cost(
    fit: minimise.Fit, matches: Matches, noise: Tensor, unseen: Tensor | None = None
) -> Tensor:
    """Robust half squared error (B,) in units of the noise; matches share their errors.

    `unseen` (B, 2 M) are matches that the model puts behind the cameras: not explained at all.
    """
    gm = minimise.costs(fit.residuals, 3 * noise)
    if unseen is not None:
        gm = gm.masked_fill(unseen, 1.0)
    return 4.5 * (matches.weight.flatten(1) * gm).sum(1) / _CORRELATED


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
    return float(mean.exp()), math.hypot(float(sigma), _COMMON)


def _parabolic(values: Tensor, at: Tensor) -> Tensor:
    """Values (K,) at fractional indices, by the parabola through the nearest three."""
    centre = at.round().long().clamp(1, len(values) - 2)
    x = at - centre
    left, middle, right = values[centre - 1], values[centre], values[centre + 1]
    return middle + 0.5 * x * (right - left) + 0.5 * x * x * (left + right - 2 * middle)
