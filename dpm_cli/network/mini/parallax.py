"""What two-view geometry alone can say of a pair: the camera's motion from the flow, and depth by parallax.

A hint for the network, without gradient: right for static points of a moving camera, wrong for movers and worthless
for a still camera; the uncertainty and the epipolar residual beside it let the network learn which.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.network.mini.pose import rotation_vector
from dpm_cli.network.mini.warp import half_diagonal, normalised_grid, rotation

HINT_CHANNELS = 4
CAMERA_NUMBERS = 8
_SAMPLES = 300
"""Matches per direction that the camera is fitted to."""
NOISE_PX = 0.3
"""Deviation of measured flow in pixels of the size it was measured at."""
_ROTATION_ROUNDS = 5
_SPREAD_PX = (4.0, 2.0, 1.5, 1.0, 0.8, 0.6)
"""Scale of the robust weights, round by round, for all starts; the best start goes on with the last."""
_LAST_ROUNDS = 4
_CLEAR = 0.3
"""Relative deviation of a depth by parallax at which it counts half."""


@dataclass(frozen=True, eq=False)
class Parallax:
    """Per pixel and per pair; lengths in units of the median depth where parallax is clear."""

    hint: Tensor
    """(B, 2, 4, H, W) log inverse depth, inverse depth, log of its deviation, log epipolar residual in pixels."""
    camera: Tensor
    """(B, 8) axis-angle, translation of camera 2 from camera 1, log median residual in pixels, log median deviation."""


@torch.no_grad()
def parallax(flow: Tensor, weight: Tensor, focal: Tensor, noise_px: Tensor) -> Parallax:
    """Fit the camera to flow and triangulate.

    Args:
        flow: (B, 2, H, W, 2) pixels, both ways.
        weight: (B, 2, H, W) 0..1, how well the flow agrees with its inverse.
        focal: (B,) focal / half diagonal, known or guessed.
        noise_px: (B,) deviation of the flow, pixels.
    """
    height, width = flow.shape[2:4]
    unit = half_diagonal(height, width)
    grid = normalised_grid(height, width, like=flow)
    target = grid + flow / unit
    first = torch.stack((grid.expand_as(target[:, 0]), target[:, 1]), 1)
    second = torch.stack((target[:, 0], grid.expand_as(target[:, 1])), 1)
    step = max(1, round((height * width / _SAMPLES) ** 0.5))
    few = (slice(None), slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
    w = weight[few].flatten(1)
    f = focal[:, None, None]
    x1, x2 = _rays(first[few].flatten(1, 3) / f), _rays(second[few].flatten(1, 3) / f)
    pixel = focal * unit
    R, t = _fit(x1, x2, w, pixel)
    rho, spread, residual = _triangulate(x1, x2, R, t, pixel, noise_px)
    sure = w * (spread < 0.5 * rho.abs())
    t = t * torch.where((rho.sign() * sure).sum(1) < 0, -1.0, 1.0)[:, None]
    rho, spread, residual = _triangulate(x1, x2, R, t, pixel, noise_px)
    sure = w * ((spread < 0.5 * rho) & (rho > 0)) + 1e-6 * w + 1e-9
    scale = _median(rho.clamp_min(1e-4), sure)
    noise, blur = _median(residual, w + 1e-9), _median(spread, w + 1e-9) / scale
    full = _triangulate(
        _rays(first.flatten(1, 3) / f), _rays(second.flatten(1, 3) / f), R, t, pixel, noise_px
    )
    near, far_spread, off = (m.unflatten(1, (2, height, width)) for m in full)
    s = scale[:, None, None, None]
    near, far_spread = near / s, far_spread / s
    hint = torch.stack(
        (
            near.clamp(0.05, 20).log(),
            near.clamp(-2, 4),
            far_spread.clamp(1e-3, 20).log(),
            (off + 0.1).clamp_max(20).log(),
        ),
        2,
    )
    quality = torch.stack(((noise + 0.02).log(), blur.clamp(1e-3, 20).log()), 1)
    camera = torch.cat((rotation_vector(R), t * scale[:, None], quality), 1)
    return Parallax(hint, camera.clamp(-5, 5))


@torch.no_grad()
def refit(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    focal: Tensor,
    pixel: float,
    noise_px: Tensor,
    turn: Tensor,
    t: Tensor,
) -> tuple[Tensor, Tensor]:
    """The camera fitted anew once flow, focal length and movers are known better.

    Args:
        first: (B, 2, h, w, 2) normalised coordinates of the points of both views in image 1.
        second: (B, 2, h, w, 2) the same in image 2.
        weight: (B, 2, h, w) 0..1, small where the point may move by itself or the match may be wrong.
        focal: (B,) in half diagonals.
        pixel: size of a pixel in normalised coordinates.
        noise_px: (B,) deviation of the flow, pixels.
        turn: (B, S, 3) guesses of camera 2 from camera 1, axis-angle.
        t: (B, S, 3) translations that go with them, any length.

    Returns:
        Rotation (B, 3, 3) and unit translation (B, 3), its sign such that most depths are positive.
    """
    f = focal[:, None, None]
    x1, x2 = _rays(first.flatten(1, 3) / f), _rays(second.flatten(1, 3) / f)
    w, ray_pixel = weight.flatten(1), focal / pixel
    # A guess without translation would stay one.
    t = t + 1e-4 * torch.tensor((1.0, 0.3, 0.5), device=t.device)
    R, t = _best(x1, x2, w, ray_pixel, rotation(turn), t / t.norm(dim=-1, keepdim=True))
    rho, spread, _ = _triangulate(x1, x2, R, t, ray_pixel, noise_px)
    behind = (rho.sign() * w * (spread < 0.5 * rho.abs())).sum(1) < 0
    return R, t * torch.where(behind, -1.0, 1.0)[:, None]


@torch.no_grad()
def depth_by_parallax(
    first: Tensor,
    second: Tensor,
    focal: Tensor,
    pixel: float,
    noise_px: Tensor,
    R: Tensor,
    t: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log depth (B, 2, h, w) in camera 1 in baselines, how clear it is 0..1, and pixels off the epipolar line."""
    f = focal[:, None, None]
    x1, x2 = _rays(first.flatten(1, 3) / f), _rays(second.flatten(1, 3) / f)
    found = _triangulate(x1, x2, R, t, focal / pixel, noise_px)
    rho, spread, off = (m.unflatten(1, first.shape[1:4]) for m in found)
    relative = spread / rho.clamp_min(1e-6) / _CLEAR
    return -rho.clamp_min(1e-4).log(), (rho > 0) / (1 + relative.square()), off


def _rays(xy: Tensor) -> Tensor:
    return torch.cat((xy, torch.ones_like(xy[..., :1])), -1)


def _fit(x1: Tensor, x2: Tensor, w: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and unit translation (B, 3) from rays (B, N, 3): six starts, robust Gauss-Newton."""
    turned = _only_rotation(x1, x2, w, pixel)
    eye = torch.eye(3, device=x1.device)
    R = torch.stack((eye.expand_as(turned), turned), 1).repeat_interleave(3, 1)
    t = eye.repeat(2, 1).expand(len(x1), -1, -1)
    for scale in _SPREAD_PX:
        R, t = _step(x1, x2, w, pixel, R, t, scale)
    return _best(x1, x2, w, pixel, R, t)


def _best(x1, x2, w, pixel, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The start of least robust cost, fitted on: R (B, S, 3, 3) and t (B, S, 3) to (B, 3, 3) and (B, 3)."""
    r = _sampson(x1, x2, R, t)[0] * pixel[:, None, None]
    cost = (w[:, None] * r.square().clamp_max(1.0)).sum(-1)
    best = cost.argmin(1)
    rows = torch.arange(len(best), device=best.device)
    R, t = R[rows, best][:, None], t[rows, best][:, None]
    for _ in range(_LAST_ROUNDS):
        R, t = _step(x1, x2, w, pixel, R, t, _SPREAD_PX[-1])
    return R[:, 0], t[:, 0]


def _sampson(x1: Tensor, x2: Tensor, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual (B, S, N) in ray units, its normaliser, rays of image 1 turned (B, S, N, 3), normals (B, S, N, 3)."""
    a = x1[:, None] @ R.transpose(-1, -2)
    other = x2[:, None].expand_as(a)
    normal = torch.linalg.cross(a, other)
    e = (normal @ t[..., None])[..., 0]
    line_2 = torch.linalg.cross(t[:, :, None].expand_as(a), a)
    line_1 = torch.linalg.cross(other, t[:, :, None].expand_as(a)) @ R
    length = line_2[..., :2].square().sum(-1) + line_1[..., :2].square().sum(-1)
    inverse = length.clamp_min(1e-12).rsqrt()
    return e * inverse, inverse, a, normal


def _step(x1, x2, w, pixel, R: Tensor, t: Tensor, scale_px: float) -> tuple[Tensor, Tensor]:
    """One weighted Gauss-Newton step of all starts, R (B, S, 3, 3) and t (B, S, 3)."""
    r, inverse, a, normal = _sampson(x1, x2, R, t)
    other = x2[:, None].expand_as(a)
    turn = torch.linalg.cross(a, torch.linalg.cross(other, t[:, :, None].expand_as(a)))
    J = torch.cat((turn, normal), -1) * inverse[..., None]
    robust = w[:, None] / (1 + (r * pixel[:, None, None] / scale_px).square()).square()
    A = (J * robust[..., None]).transpose(-1, -2) @ J
    b = ((robust * r)[..., None] * J).sum(-2)
    size = A.diagonal(dim1=-1, dim2=-2).mean(-1)[..., None, None] + 1e-12
    along = torch.cat((torch.zeros_like(t), t), -1)
    A = A + size * (
        1e-4 * torch.eye(6, device=A.device) + along[..., :, None] * along[..., None, :]
    )
    delta = -torch.linalg.solve(A, b[..., None])[..., 0]
    delta = torch.cat((delta[..., :3].clamp(-0.2, 0.2), delta[..., 3:].clamp(-0.7, 0.7)), -1)
    t = t + delta[..., 3:]
    return rotation(delta[..., :3]) @ R, t / t.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def _only_rotation(x1: Tensor, x2: Tensor, w: Tensor, pixel: Tensor) -> Tensor:
    """Rotation (B, 3, 3) that brings rays 1 nearest to rays 2 in the image, robustly."""
    R = torch.eye(3, device=x1.device).repeat(len(x1), 1, 1)
    for _ in range(_ROTATION_ROUNDS):
        a = x1 @ R.transpose(1, 2)
        x, y = a[..., 0] / a[..., 2], a[..., 1] / a[..., 2]
        r = torch.stack((x, y), -1) - x2[..., :2]
        one = torch.ones_like(x)
        J = torch.stack(
            (torch.stack((-x * y, one + x * x, -y), -1), torch.stack((-one - y * y, x * y, x), -1)),
            2,
        )
        robust = w / (r.norm(dim=-1) * pixel[:, None]).clamp_min(0.3)
        A = torch.einsum("bn,bnci,bncj->bij", robust, J, J)
        b = torch.einsum("bn,bnci,bnc->bi", robust, J, r)
        size = 1 + A.diagonal(dim1=1, dim2=2).sum(1)
        A = A + 1e-6 * torch.eye(3, device=A.device) * size[:, None, None]
        R = rotation(-torch.linalg.solve(A, b)) @ R
    return R


def _triangulate(
    x1, x2, R: Tensor, t: Tensor, pixel: Tensor, noise_px: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse depth in camera 1 in units of 1 / |t|, its deviation, and pixels off the epipolar line.

    x2 is the image of x1 / rho moved by (R, t): rho q = p with p, q below, so least squares in rho is p.q / q.q.
    """
    a = x1 @ R.transpose(1, 2)
    p = x2[..., :2] * a[..., 2:] - a[..., :2]
    q = t[:, None, :2] - x2[..., :2] * t[:, None, 2:]
    length = q.square().sum(-1).clamp_min(1e-10)
    rho = (p * q).sum(-1) / length
    across = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).abs() * length.rsqrt()
    noise = (noise_px / pixel)[:, None]
    return rho, noise * length.rsqrt(), across * pixel[:, None]


def _median(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted median (B,) of values (B, N)."""
    ordered, index = values.sort(1)
    total = weight.gather(1, index).cumsum(1)
    place = torch.searchsorted(total, total[:, -1:] / 2).clamp_max(values.shape[1] - 1)
    return ordered.gather(1, place)[:, 0]
