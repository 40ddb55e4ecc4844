"""What two-view geometry alone can say of a pair: the camera's motion from the flow, and depth by parallax.

A hint for the network, without gradient: right for static points of a moving camera, wrong for movers and worthless
for a still camera; the uncertainty and the epipolar residual beside it let the network learn which.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp, so3_log
from dpm_cli.geometry.robust import weighted_median
from dpm_cli.network.mini.warp import half_diagonal, match_ends, normalised_grid
from dpm_cli.twoview.lines import with_z
from dpm_cli.twoview.quick import best_camera, fit_camera, triangulate_rays

HINT_CHANNELS = 4
CAMERA_NUMBERS = 8
_SAMPLES = 300
"""Matches per direction that the camera is fitted to."""
NOISE_PX = 0.3
"""Deviation of measured flow in pixels of the size it was measured at."""
_CLEAR = 0.3
"""Relative deviation of a depth by parallax at which it counts half."""


@dataclass(frozen=True, eq=False)
class CameraHint:
    """Per pixel and per pair; lengths in units of the median depth where parallax is clear."""

    hint: Tensor
    """(B, 2, 4, H, W) log inverse depth, inverse depth, log of its deviation, log epipolar residual in pixels."""
    camera: Tensor
    """(B, 8) axis-angle, translation of camera 2 from camera 1, log median residual in pixels, log median deviation."""


@torch.no_grad()
def parallax(flow: Tensor, weight: Tensor, focal: Tensor, noise_px: Tensor) -> CameraHint:
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
    first, second = match_ends(target)
    step = max(1, round((height * width / _SAMPLES) ** 0.5))
    few = (slice(None), slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
    w = weight[few].flatten(1)
    f = focal[:, None, None]
    x1, x2 = with_z(first[few].flatten(1, 3) / f), with_z(second[few].flatten(1, 3) / f)
    pixel = focal * unit
    R, t = fit_camera(x1, x2, w, pixel)
    rho, spread, residual = triangulate_rays(x1, x2, R, t, pixel, noise_px)
    sure = w * (spread < 0.5 * rho.abs())
    t = t * torch.where((rho.sign() * sure).sum(1) < 0, -1.0, 1.0)[:, None]
    rho, spread, residual = triangulate_rays(x1, x2, R, t, pixel, noise_px)
    sure = w * ((spread < 0.5 * rho) & (rho > 0)) + 1e-6 * w + 1e-9
    scale = weighted_median(rho.clamp_min(1e-4), sure)
    noise, blur = weighted_median(residual, w + 1e-9), weighted_median(spread, w + 1e-9) / scale
    full = triangulate_rays(
        with_z(first.flatten(1, 3) / f), with_z(second.flatten(1, 3) / f), R, t, pixel, noise_px
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
    camera = torch.cat((so3_log(R), t * scale[:, None], quality), 1)
    return CameraHint(hint, camera.clamp(-5, 5))


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
    x1, x2 = with_z(first.flatten(1, 3) / f), with_z(second.flatten(1, 3) / f)
    w, ray_pixel = weight.flatten(1), focal / pixel
    # A guess without translation would stay one.
    t = t + 1e-4 * torch.tensor((1.0, 0.3, 0.5), device=t.device)
    R, t = best_camera(x1, x2, w, ray_pixel, so3_exp(turn), t / t.norm(dim=-1, keepdim=True))
    rho, spread, _ = triangulate_rays(x1, x2, R, t, ray_pixel, noise_px)
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
    x1, x2 = with_z(first.flatten(1, 3) / f), with_z(second.flatten(1, 3) / f)
    found = triangulate_rays(x1, x2, R, t, focal / pixel, noise_px)
    rho, spread, off = (m.unflatten(1, first.shape[1:4]) for m in found)
    return -rho.clamp_min(1e-4).log(), clearness(rho, spread), off


def clearness(inverse_depth: Tensor, spread: Tensor) -> Tensor:
    """How clear depth by parallax is, 0..1, of its inverse and the deviation of that, in one unit."""
    relative = spread / inverse_depth.clamp_min(1e-6) / _CLEAR
    return (inverse_depth > 0) / (1 + relative.square())
