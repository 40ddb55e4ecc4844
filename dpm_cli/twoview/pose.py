"""The relative camera of a pair: moving, turning or still, decided by a stated criterion.

    MAGSAC++ and locally optimised RANSAC (five-point,
    cv2) on all and on textured matches,
    rotation with three directions                   ->  robust refinement of all  ->  cheapest  ->  moving
    robust rotation only                                                                         ->  turning or still

Criterion: Torr's GRIC (IJCV 2002). A two-view epipolar model describes each match by 3 numbers (position on its line
is free), a rotation by 2; GRIC adds log(4) for every such number and log(4 n) for every parameter of the model
to the truncated chi-square of the residuals. So a moving camera must explain what a turning one cannot by
more than noise; otherwise depth is not observable and saying so is the honest answer. As an essential matrix also
explains one mover before a turning camera, at least `PARALLAX_SHARE` of the matches must need it.
"""

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry import rigid
from dpm_cli.twoview import epipolar, minimise, relief
from dpm_cli.twoview import rotation as turning
from dpm_cli.twoview.matches import Matches

PARALLAX_SHARE = 0.2
"""Share of matches that must move by parallax; fewer may as well be a mover before a turning camera."""
ENOUGH = 60
"""Matches, both directions together, below which nothing is estimated."""
WIDTH = 1.0
"""Deviations of the noise beyond which a match has little say. As narrow as this, the minimum is the motion that most
matches agree on exactly; at three deviations it may be a compromise of a large mover and the background, whose
own residuals then make the noise, and with it the width, larger."""
LEAST_NOISE = 0.5
"""Whitened spread below which no flow is believed to be when models are compared. A moving camera bends to errors that
neighbours share, so what it leaves understates them: .26 to .6 before cameras that turn; a turn leaves .4 to .8."""
_SAMPLERS = ((cv2.USAC_MAGSAC, 0.7), (cv2.USAC_ACCURATE, 0.3))
"""Method and threshold in pixels. MAGSAC++ alone may average a large mover and the background into one motion."""
INDEPENDENT = 50
"""Neighbouring flow vectors share their errors; so many are independent, however many are used. The errors of
direction on rendered clips say so."""
UNEXPLAINED = 1e6
"""Residual of a match that a model cannot explain at all."""
ABSORBED = 4.0
"""Of the variance of a pose so much is absorbed by the depths that come with it; the rest is handed on."""


@dataclass(frozen=True, eq=False)
class PairPose:
    """Relative cameras of B pairs; float64."""

    rotation: Tensor
    """(B, 3, 3) camera 2 from camera 1."""
    translation: Tensor
    """(B, 3) unit length where status is ok, else 0."""
    sigma: Tensor
    """(B, 2) standard deviation of rotation and of translation direction, radians."""
    noise: Tensor
    """(B,) spread of the whitened residuals; 1 where the flow's covariance is right."""
    status: tuple[str, ...]
    """ok, rotation, still or untextured."""


def estimate(matches: Matches, focal_px: Tensor) -> PairPose:
    """Pose of B pairs at focal (B,) px."""
    turn = turning.fit_rotation(matches, focal_px)
    move = fit_motion(matches, focal_px, turn.state["rotation"])
    R, t = move.state["rotation"], move.state["translation"]
    t = t * torch.where(epipolar.facing(R, t, matches, focal_px) < 0, -1.0, 1.0)[:, None]
    weight = matches.weight.flatten(1)
    unseen = epipolar.behind(R, t, matches, focal_px)[..., None]
    explained = move.residuals.masked_fill(unseen, UNEXPLAINED)
    noise = move.noise.clamp_min(LEAST_NOISE)
    moves = _gric(explained, weight, noise, dimension=3, parameters=5)
    turns = _gric(turn.residuals, weight, noise, dimension=2, parameters=3)
    share = only_moving_explains(explained, turn.residuals, weight, noise)
    moving = (moves < turns) & (share > PARALLAX_SHARE)
    shift = rigid.so3_angle(turn.state["rotation"]) * focal_px
    enough = (weight > 0).sum(1) >= ENOUGH
    status = tuple(
        "untextured" if not e else "ok" if m else "still" if s < turning.STILL_PX else "rotation"
        for m, s, e in zip(moving.tolist(), shift.tolist(), enough.tolist(), strict=True)
    )
    moving, turned = moving & enough, enough & (shift >= turning.STILL_PX)
    eye = torch.eye(3, dtype=R.dtype, device=R.device).expand_as(R)
    still = torch.where(turned[:, None, None], turn.state["rotation"], eye)
    spread = move.covariance.diagonal(dim1=1, dim2=2) * _sharing(matches)[:, None] / ABSORBED
    sigma = torch.stack((spread[:, :3].sum(1), spread[:, 3:].sum(1)), 1).sqrt()
    return PairPose(
        torch.where(moving[:, None, None], R, still),
        torch.where(moving[:, None], t, torch.zeros_like(t)),
        sigma,
        move.noise,
        status,
    )


def fit_motion(matches: Matches, focal_px: Tensor, turned: Tensor) -> minimise.Fit:
    """Best moving-camera pose over all starts; `turned` (B, 3, 3) is the rotation-only solution."""
    axes = torch.eye(3, dtype=turned.dtype, device=turned.device)
    starts = [
        sampled(some, focal_px, turned, *choice)
        for some in (matches, _textured(matches))
        for choice in _SAMPLERS
    ]
    starts += [(turned, axis.expand(len(turned), 3)) for axis in axes]
    R, t = (torch.stack([s[k] for s in starts], 1) for k in (0, 1))
    batch, count = R.shape[:2]
    index = torch.arange(batch, device=R.device).repeat_interleave(count)
    few, focals = matches.thin(4)[index], focal_px[index]
    rough = epipolar.refine(
        R.flatten(0, 1), t.flatten(0, 1), few, focals, iterations=8, width=WIDTH
    )
    cost = _cost(rough, few, focals, count).view(batch, count)
    best = torch.arange(batch, device=R.device) * count + cost.argmin(1)
    state = {k: v[best] for k, v in rough.state.items()}
    return epipolar.refine(
        state["rotation"],
        state["translation"],
        matches,
        focal_px,
        prior=lambda R, t: relief.surprise(R, t, matches, focal_px),
        correlated=_sharing(matches),
        width=WIDTH,
    )


def _textured(matches: Matches) -> Matches:
    """The half of every pair's matches whose flow is known best: in flat areas it leaks in from what is around."""
    variance = matches.covariance[..., 0] + matches.covariance[..., 2]
    used = variance.masked_fill(matches.weight <= 0, torch.nan)
    best = variance <= used.flatten(1).nanmedian(dim=1).values[:, None, None]
    return dataclasses.replace(matches, weight=matches.weight * best)


def _sharing(matches: Matches) -> Tensor:
    """Matches (B,) that share one error."""
    return ((matches.weight > 0).sum((1, 2)) / INDEPENDENT).clamp_min(1).to(matches.weight.dtype)


def sampled(
    matches: Matches, focal_px: Tensor, fallback: Tensor, method: int, threshold_px: float
) -> tuple[Tensor, Tensor]:
    """Pose of every pair by one of OpenCV's samplers; `fallback` (B, 3, 3) and +x where it finds none.

    The samplers' seed is fixed. Of the two rotations of an essential matrix the smaller is taken: the other turns by
    about 180 degrees.
    """
    rotations, translations = fallback.clone(), torch.zeros_like(fallback[:, 0])
    translations[:, 0] = 1
    for b in range(len(fallback)):
        used = (matches.weight[b, 0] > 0).cpu().numpy()
        source, target = (x[b, 0].cpu().numpy()[used] for x in (matches.source, matches.target))
        if len(source) < ENOUGH // 2:
            continue
        K = np.diag((float(focal_px[b]), float(focal_px[b]), 1.0))
        E, _ = cv2.findEssentialMat(
            source, target, K, method=method, prob=0.999, threshold=threshold_px, maxIters=500
        )
        if E is None or E.shape != (3, 3):
            continue
        R1, R2, t = cv2.decomposeEssentialMat(E)
        R = R1 if np.trace(R1) > np.trace(R2) else R2
        rotations[b] = torch.from_numpy(R).to(rotations)
        translations[b] = torch.from_numpy(t[:, 0]).to(translations)
    return rotations, translations


def _cost(fit: minimise.Fit, matches: Matches, focal_px: Tensor, group: int) -> Tensor:
    """Robust cost (B,) at the smallest noise of each group of `group` starts, plus what lies behind the cameras."""
    noise = fit.noise.view(-1, group).amin(1).repeat_interleave(group)
    weight = matches.weight.flatten(1)
    R, t = fit.state["rotation"], fit.state["translation"]
    gm = minimise.costs(fit.residuals, WIDTH * noise)
    gm = gm.masked_fill(epipolar.behind(R, t, matches, focal_px), 1.0)
    cost = (weight * gm).sum(1)
    front = epipolar.facing(R, t, matches, focal_px).abs()
    unlikely = relief.surprise(R, t, matches, focal_px)
    cost = cost + _sharing(matches) / WIDTH**2 * unlikely.square().sum(1)
    return cost / weight.sum(1).clamp_min(1e-9) - 0.1 * front


def _gric(
    residuals: Tensor, weight: Tensor, noise: Tensor, *, dimension: int, parameters: int
) -> Tensor:
    """GRIC per match (B,) of residuals (B, M, C), r = 4 numbers a match, lambda_3 = 2."""
    used = (weight > 0).to(residuals.dtype)
    n = used.sum(1).clamp_min(1)
    chi2 = residuals.square().sum(-1) / noise[:, None].square()
    data = (used * chi2.clamp_max(2.0 * (4 - dimension))).sum(1) / n
    return data + math.log(4) * dimension + (4 * n).log() * parameters / n


def only_moving_explains(move: Tensor, turn: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
    """Share (B,) of matches within 2.5 deviations of the moving model but beyond 4 of the turning one."""
    size_move, size_turn = move.norm(dim=-1) / noise[:, None], turn.norm(dim=-1) / noise[:, None]
    only = (weight > 0) & (size_move < 2.5) & (size_turn > 4)
    return only.sum(1) / (weight > 0).sum(1).clamp_min(1)
