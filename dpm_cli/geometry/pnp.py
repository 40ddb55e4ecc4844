"""Robust camera pose from points and pixels (PnP), batched over pairs, with an honest covariance.

A pair's relative camera (paper, section 3.1) comes from P_2(t_2) in camera 1's frame and image 2's own pixels. No
motion mask is needed, because points and pixels are of the same time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.pnp_refine import PnpProblem, PnpState, gram, make_problem, refine, system
from dpm_cli.geometry.pnp_start import EXPLAINED, start_pose, thin

_MIN_POINTS = 6
_COARSE_POINTS = 4096
_POLISH_STEPS = 1
"""Steps on all points after convergence on about 4096 of them: it halves the effect of independent noise."""


@dataclass(frozen=True, eq=False)
class PnpFit:
    """Poses of B cameras."""

    cam_from_points: Tensor
    """(B, 4, 4) float64, camera from the frame of the points."""
    covariance: Tensor
    """(B, 6, 6) of the twist (translation in units of the points, rotation in radians) that acts from the left."""
    inliers: Tensor
    """(B,) share of the weight within 0.03 radians of its pixel's ray, 0..1."""
    twist_per_log_focal: Tensor
    """(B, 6) how the pose follows when the focal length is changed: twist per unit of log focal."""


def solve_pnp(
    points: Tensor,
    pixels: Tensor,
    K: Tensor,
    weights: Tensor | None = None,
    *,
    blocks: Tensor | None = None,
    iterations: int = 15,
) -> PnpFit:
    """Pose of the camera that sees `points` (given in any other frame) at `pixels`.

    Args:
        points: (B, N, 3).
        pixels: (N, 2) or (B, N, 2).
        K: (B, 3, 3) intrinsics.
        weights: (B, N) >= 0.
        blocks: (N,) int64 image tile of each point. Noise may be correlated within a tile (point maps are smooth):
            the covariance then counts tiles, not points.
        iterations: of the refinement, at most.

    Raises:
        DegenerateGeometryError: fewer than 6 points with weight in some pair.
    """
    points, K = points.double(), K.double()
    w = torch.ones_like(points[..., 0]) if weights is None else weights.double()
    if bool(((w > 0).sum(-1) < _MIN_POINTS).any()):
        raise DegenerateGeometryError(
            f"relative camera: a pair has fewer than {_MIN_POINTS} points with an estimate"
        )
    w = w / w.sum(-1, keepdim=True)
    pixels = pixels.double().expand(*points.shape[:2], 2)
    coarse = thin(make_problem(points, pixels, w, K), _COARSE_POINTS)
    start = start_pose(coarse)
    state = refine(coarse, start, iterations=iterations)
    problem = coarse
    if problem.points.shape[1] < points.shape[1]:
        problem = make_problem(points, pixels, w, K)
        state = refine(problem, state.pose, iterations=_POLISH_STEPS)
    covariance, gain = _uncertainty(problem, state, blocks)
    return PnpFit(
        state.pose,
        covariance,
        (w * (state.size < EXPLAINED * problem.focal_px)).sum(-1),
        gain,
    )


def _uncertainty(
    problem: PnpProblem, state: PnpState, blocks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Covariance (B, 6, 6) by the sandwich rule with one gradient a tile, and the twist per log focal (B, 6)."""
    rows, weights = system(problem, state)
    normal = gram(rows, weights, rows)
    H = normal[:, :6, :6]
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    H = H + torch.diag_embed(1e-13 * diagonal + 1e-30)
    pull = (rows[..., :6] * rows[..., 7:] * weights[..., None, None]).sum(-2)
    groups = pull.shape[1]
    if blocks is not None:
        groups = int(blocks.max()) + 1
        pull = pull.new_zeros(len(pull), groups, 6).index_add_(1, blocks, pull)
    meat = pull.transpose(-1, -2) @ pull * (groups / max(groups - 6, 1))
    # Where residuals grow the weight falls, so the curvature of the cost is less than the weights suggest.
    square = state.size.square()
    robust = state.robust(problem.weights)
    slope = (robust * (1 - 2 * square / (state.width**2 + square))).sum(-1) / robust.sum(-1)
    inverse = torch.linalg.inv(H) / slope.clamp_min(0.1)[:, None, None]
    gain = -torch.linalg.solve(H, normal[:, :6, 6])
    return inverse @ meat @ inverse, gain
