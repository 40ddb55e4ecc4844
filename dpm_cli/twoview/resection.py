"""A camera's motion from points and where they are seen: robust Gauss-Newton on the reprojection error, for networks.

A network's first guess of the pose is coarse; what moves by itself shows only as far as the pose is exact. No
gradient: points and flow learn from their own truth. Where noise of the points matters and a covariance is wanted,
`geometry.pnp` does the same at a hundred times the cost.
"""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp, so3_log
from dpm_cli.geometry.robust import geman_mcclure_weight

_SPREAD_PX = (3.0, 1.5, 1.0, 0.7, 0.7)
"""Scale of the robust weights, round by round. Not wider at the start: movers would pull a near guess away."""
_PRIOR = 1e-4
"""Pull towards the first guess, as a share of the mean curvature; what the points cannot tell stays as it was."""


@torch.no_grad()
def refine_pose(
    pose: Tensor, points: Tensor, seen: Tensor, weight: Tensor, focal: Tensor, pixel: float
) -> Tensor:
    """Pose (B, 6) that brings points nearest to where they are seen in image 2, from the better of several guesses.

    Args:
        pose: (B, S, 6) guesses, axis-angle and translation of camera 2 from camera 1.
        points: (B, ..., 3) at t_1 in camera 1.
        seen: (B, ..., 2) normalised coordinates in image 2.
        weight: (B, ...) 0..1, small where the point may move by itself.
        focal: (B,) in half diagonals.
        pixel: size of a pixel in normalised coordinates.
    """
    starts = pose.shape[1]
    points = points.float().flatten(1, -2).repeat_interleave(starts, 0)
    seen = seen.float().flatten(1, -2).repeat_interleave(starts, 0)
    weight = weight.float().flatten(1).repeat_interleave(starts, 0)
    focal = focal.float().repeat_interleave(starts)
    R, t = so3_exp(pose.flatten(0, 1)[:, :3]), pose.flatten(0, 1)[:, 3:].float()
    before = _cost(R, t, points, seen, weight, focal, pixel)
    first = R, t
    for scale in _SPREAD_PX:
        R, t = _step(R, t, points, seen, weight, focal, scale * pixel)
    after = _cost(R, t, points, seen, weight, focal, pixel)
    # Gauss-Newton may diverge where the points say little: then the guess stands.
    better = after < before
    R = torch.where(better[:, None, None], R, first[0])
    t = torch.where(better[:, None], t, first[1])
    best = torch.minimum(after, before).unflatten(0, (-1, starts)).argmin(1)
    best = best + torch.arange(len(best), device=best.device) * starts
    return torch.cat((so3_log(R[best]), t[best]), 1)


def _cost(R, t, points, seen, weight, focal, pixel: float) -> Tensor:
    """Robust cost (B,): squared pixels, those beyond three all alike."""
    r = _residual(R, t, points, seen, focal)[0].norm(dim=-1) / pixel
    return (weight * r.square().clamp_max(9.0)).sum(1)


def _residual(
    R: Tensor, t: Tensor, points: Tensor, seen: Tensor, focal: Tensor
) -> tuple[Tensor, Tensor]:
    """Seen minus projected (B, N, 2), and the points in camera 2."""
    moved = points @ R.transpose(1, 2) + t[:, None]
    z = moved[..., 2:].clamp_min(1e-2)
    return seen - moved[..., :2] / z * focal[:, None, None], moved


def _step(R, t, points, seen, weight, focal, scale: float) -> tuple[Tensor, Tensor]:
    r, moved = _residual(R, t, points, seen, focal)
    x, y, z = moved.unbind(-1)
    z = z.clamp_min(1e-2)
    u, v, inverse = x / z, y / z, 1 / z
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    J = torch.stack(
        (
            torch.stack((-u * v, one + u * u, -v, inverse, zero, -u * inverse), -1),
            torch.stack((-one - v * v, u * v, u, zero, inverse, -v * inverse), -1),
        ),
        2,
    )
    J = J * focal[:, None, None, None]
    w = geman_mcclure_weight((r.norm(dim=-1) / scale).square(), weight)
    J, r = J.flatten(1, 2), r.flatten(1)
    weighted = J * w.repeat_interleave(2, 1)[..., None]
    A = weighted.transpose(1, 2) @ J
    b = (weighted.transpose(1, 2) @ r[..., None])[..., 0]
    size = A.diagonal(dim1=1, dim2=2)
    damping = _PRIOR * size.unflatten(1, (2, 3)).mean(-1).repeat_interleave(3, 1) + 1e-9
    delta = torch.linalg.solve(A + torch.diag_embed(damping), b[..., None])[..., 0]
    turn, shift = delta[:, :3].clamp(-0.3, 0.3), delta[:, 3:].clamp(-1, 1)
    new = so3_exp(turn)
    return new @ R, (new @ t[..., None])[..., 0] + shift
