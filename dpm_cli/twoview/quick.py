"""Camera and depth from two views where no match knows its covariance: float32, analytic, a few rounds; for networks.

Gauss-Newton on the Sampson distance (Hartley and Zisserman, 11.4.3) from six starts, with robust weights whose width
shrinks round by round. Rays are (..., 3) with z = 1; `focal_px` (B,) turns their unit into pixels. No gradient.

dpm-mini was trained on what these functions say, so a change of theirs needs a new training.
"""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp
from dpm_cli.geometry.robust import geman_mcclure_weight
from dpm_cli.twoview.lines import line_terms
from dpm_cli.twoview.rotation import turn_rays

_SPREAD_PX = (4.0, 2.0, 1.5, 1.0, 0.8, 0.6)
"""Width of the robust weights, round by round, for all starts; the best start goes on with the last."""
_LAST_ROUNDS = 4


@torch.no_grad()
def fit_camera(
    rays_1: Tensor, rays_2: Tensor, weight: Tensor, focal_px: Tensor
) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and unit translation (B, 3), of either sign, of camera 2 from camera 1.

    Args:
        rays_1: (B, N, 3) in camera 1.
        rays_2: (B, N, 3) of the same points in camera 2.
        weight: (B, N) >= 0.
        focal_px: (B,).
    """
    turned = turn_rays(rays_1, rays_2, weight, focal_px)
    eye = torch.eye(3, dtype=rays_1.dtype, device=rays_1.device)
    R = torch.stack((eye.expand_as(turned), turned), 1).repeat_interleave(3, 1)
    t = eye.repeat(2, 1).expand(len(rays_1), -1, -1)
    for width_px in _SPREAD_PX:
        R, t = _step(rays_1, rays_2, weight, focal_px, R, t, width_px)
    return best_camera(rays_1, rays_2, weight, focal_px, R, t)


@torch.no_grad()
def best_camera(
    rays_1: Tensor, rays_2: Tensor, weight: Tensor, focal_px: Tensor, R: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """The start of least robust cost, fitted on: R (B, S, 3, 3) and t (B, S, 3) to (B, 3, 3) and (B, 3).

    The other arguments are those of `fit_camera`.
    """
    r = _sampson(rays_1, rays_2, R, t)[0] * focal_px[:, None, None]
    cost = (weight[:, None] * r.square().clamp_max(1.0)).sum(-1)
    best = cost.argmin(1)
    rows = torch.arange(len(best), device=best.device)
    R, t = R[rows, best][:, None], t[rows, best][:, None]
    for _ in range(_LAST_ROUNDS):
        R, t = _step(rays_1, rays_2, weight, focal_px, R, t, _SPREAD_PX[-1])
    return R[:, 0], t[:, 0]


@torch.no_grad()
def triangulate_rays(
    rays_1: Tensor, rays_2: Tensor, R: Tensor, t: Tensor, focal_px: Tensor, noise_px: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse depth (B, N) in camera 1 in units of 1 / |t|, its deviation, and pixels off the epipolar line.

    Args:
        rays_1: (B, N, 3) in camera 1.
        rays_2: (B, N, 3) in camera 2.
        R: (B, 3, 3) camera 2 from camera 1.
        t: (B, 3) the same.
        focal_px: (B,).
        noise_px: (B,) deviation of the matches.
    """
    terms = line_terms(rays_1 @ R.mT, rays_2[..., :2], t[:, None])
    rho, length2 = terms.inverse_depth(1e-10)
    off = terms.across().abs() * length2.rsqrt()
    noise = (noise_px / focal_px)[:, None]
    return rho, noise * length2.rsqrt(), off * focal_px[:, None]


def _sampson(
    rays_1: Tensor, rays_2: Tensor, R: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual (B, S, N) in ray units, its normaliser, rays of image 1 turned (B, S, N, 3), normals (B, S, N, 3)."""
    a = rays_1[:, None] @ R.mT
    other = rays_2[:, None].expand_as(a)
    normal = torch.linalg.cross(a, other)
    e = (normal @ t[..., None])[..., 0]
    line_2 = torch.linalg.cross(t[:, :, None].expand_as(a), a)
    line_1 = torch.linalg.cross(other, t[:, :, None].expand_as(a)) @ R
    length2 = line_2[..., :2].square().sum(-1) + line_1[..., :2].square().sum(-1)
    inverse = length2.clamp_min(1e-12).rsqrt()
    return e * inverse, inverse, a, normal


def _step(
    rays_1: Tensor,
    rays_2: Tensor,
    weight: Tensor,
    focal_px: Tensor,
    R: Tensor,
    t: Tensor,
    width_px: float,
) -> tuple[Tensor, Tensor]:
    """One weighted Gauss-Newton step of all starts, R (B, S, 3, 3) and t (B, S, 3)."""
    r, inverse, a, normal = _sampson(rays_1, rays_2, R, t)
    other = rays_2[:, None].expand_as(a)
    turn = torch.linalg.cross(a, torch.linalg.cross(other, t[:, :, None].expand_as(a)))
    J = torch.cat((turn, normal), -1) * inverse[..., None]
    robust = geman_mcclure_weight(
        (r * focal_px[:, None, None] / width_px).square(), weight[:, None]
    )
    A = (J * robust[..., None]).mT @ J
    b = ((robust * r)[..., None] * J).sum(-2)
    size = A.diagonal(dim1=-1, dim2=-2).mean(-1)[..., None, None] + 1e-12
    along = torch.cat((torch.zeros_like(t), t), -1)
    # The length of the translation is not in the residual, so steps along it are held back.
    A = A + size * (
        1e-4 * torch.eye(6, dtype=A.dtype, device=A.device)
        + along[..., :, None] * along[..., None, :]
    )
    delta = -torch.linalg.solve(A, b[..., None])[..., 0]
    delta = torch.cat((delta[..., :3].clamp(-0.2, 0.2), delta[..., 3:].clamp(-0.7, 0.7)), -1)
    t = t + delta[..., 3:]
    return so3_exp(delta[..., :3]) @ R, t / t.norm(dim=-1, keepdim=True).clamp_min(1e-9)
