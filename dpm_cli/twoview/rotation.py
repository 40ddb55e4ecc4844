"""The alternative to a moving camera: rotation only (an infinite homography); standing still is its special case."""

import torch
from torch import Tensor

from dpm_cli.geometry import rigid
from dpm_cli.twoview import minimise
from dpm_cli.twoview.matches import Matches, directions

STILL_PX = 0.35
"""Motion of the picture below which the camera is called standing still."""


@torch.no_grad()
def turn_rays(
    rays_1: Tensor,
    rays_2: Tensor,
    weight: Tensor,
    focal_px: Tensor,
    *,
    rounds: int = 5,
    floor_px: float = 0.3,
) -> Tensor:
    """Rotation (B, 3, 3) that brings rays 1 nearest to rays 2 in the picture: least sum of distances, not squares.

    Gauss-Newton without covariances, for what needs no more: networks, and the word about a pair's camera.

    Args:
        rays_1: (B, N, 3) with z = 1.
        rays_2: (B, N, 3) with z = 1.
        weight: (B, N) >= 0.
        focal_px: (B,).
        rounds: of Gauss-Newton.
        floor_px: nearer matches count no more than this.
    """
    eye = torch.eye(3, dtype=rays_1.dtype, device=rays_1.device)
    R = eye.repeat(len(rays_1), 1, 1)
    for _ in range(rounds):
        r, (x, y) = ray_transfer(rays_1, rays_2, R)
        one = torch.ones_like(x)
        J = torch.stack(
            (torch.stack((-x * y, one + x * x, -y), -1), torch.stack((-one - y * y, x * y, x), -1)),
            2,
        )
        robust = weight / (r.norm(dim=-1) * focal_px[:, None]).clamp_min(floor_px)
        A = torch.einsum("bn,bnci,bncj->bij", robust, J, J)
        b = torch.einsum("bn,bnci,bnc->bi", robust, J, r)
        size = 1 + A.diagonal(dim1=1, dim2=2).sum(1)
        A = A + 1e-6 * eye * size[:, None, None]
        R = rigid.so3_exp(-torch.linalg.solve(A, b)) @ R
    return R


def ray_transfer(rays_1: Tensor, rays_2: Tensor, R: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Where rays 1 turned by R (B, 3, 3) are seen minus where rays 2 are (B, N, 2), and the former as x, y (B, N)."""
    a = rays_1 @ R.mT
    x, y = a[..., 0] / a[..., 2], a[..., 1] / a[..., 2]
    return torch.stack((x, y), -1) - rays_2[..., :2], (x, y)


def transfer_errors(rotation: Tensor, matches: Matches, focal_px: Tensor) -> Tensor:
    """Whitened difference (B, 2 M, 2) between every target and where the rotation (B, 3, 3) takes its source."""
    R = torch.stack((rotation, rotation.mT), 1)
    turned = directions(matches.source, focal_px) @ R.mT
    z = turned[..., 2:].clamp_min(1e-3)
    error = matches.target - turned[..., :2] / z * focal_px[:, None, None, None]
    return whiten(error, matches.covariance).flatten(1, 2)


def whiten(error: Tensor, covariance: Tensor) -> Tensor:
    """Errors (..., 2) in standard deviations of covariance (..., 3) = xx, xy, yy (inverse Cholesky factor)."""
    cxx, cxy, cyy = covariance.unbind(-1)
    a = cxx.clamp_min(1e-12).sqrt()
    b = cxy / a
    c = (cyy - b * b).clamp_min(1e-12).sqrt()
    first = error[..., 0] / a
    return torch.stack((first, (error[..., 1] - b * first) / c), -1)


def fit_rotation(matches: Matches, focal_px: Tensor, *, iterations: int = 10) -> minimise.Fit:
    """Robust rotation of camera 2 from camera 1; starts at what the median flow says."""
    used = matches.weight[:, 0, :, None] > 0
    flow = (matches.target - matches.source)[:, 0].masked_fill(~used, torch.nan)
    median = flow.nanmedian(dim=1).values.nan_to_num(0.0) / focal_px[:, None]
    # A turn about y by a moves the picture centre by f tan(a) in x; about x it moves it by -f tan(a) in y.
    start = torch.stack((-median[:, 1], median[:, 0], torch.zeros_like(median[:, 0])), -1)
    return refine_rotation(rigid.so3_exp(start.atan()), matches, focal_px, iterations=iterations)


def refine_rotation(
    rotation: Tensor, matches: Matches, focal_px: Tensor, *, iterations: int = 10
) -> minimise.Fit:
    """Robust rotation from a start (B, 3, 3); the state's key is rotation."""
    return minimise.minimise(
        lambda s: transfer_errors(s["rotation"], matches, focal_px),
        lambda s, d: {"rotation": rigid.so3_exp(d) @ s["rotation"]},
        {"rotation": rotation},
        3,
        matches.weight.flatten(1),
        iterations=iterations,
        floor=0.2,
    )


def refine_with_focal(
    rotation: Tensor, matches: Matches, focal_px: Tensor, *, iterations: int = 15
) -> minimise.Fit:
    """Robust rotation and focal length together; state keys rotation, log_focal (B,); the last unknown is log focal."""
    return minimise.minimise(
        lambda s: transfer_errors(s["rotation"], matches, s["log_focal"].exp()),
        lambda s, d: {
            "rotation": rigid.so3_exp(d[:, :3]) @ s["rotation"],
            "log_focal": s["log_focal"] + d[:, 3],
        },
        {"rotation": rotation, "log_focal": focal_px.log()},
        4,
        matches.weight.flatten(1),
        iterations=iterations,
        floor=0.2,
    )
