"""The alternative to a moving camera: rotation only (an infinite homography); standing still is its special case."""

import torch
from torch import Tensor

from dpm_cli.geometry import rigid
from dpm_cli.twoview import robust
from dpm_cli.twoview.matches import Matches, directions


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


def fit_rotation(matches: Matches, focal_px: Tensor, *, iterations: int = 10) -> robust.Fit:
    """Robust rotation of camera 2 from camera 1; starts at what the median flow says."""
    used = matches.weight[:, 0, :, None] > 0
    flow = (matches.target - matches.source)[:, 0].masked_fill(~used, torch.nan)
    median = flow.nanmedian(dim=1).values.nan_to_num(0.0) / focal_px[:, None]
    # A turn about y by a moves the picture centre by f tan(a) in x; about x it moves it by -f tan(a) in y.
    start = torch.stack((-median[:, 1], median[:, 0], torch.zeros_like(median[:, 0])), -1)
    return refine_rotation(rigid.so3_exp(start.atan()), matches, focal_px, iterations=iterations)


def refine_rotation(
    rotation: Tensor, matches: Matches, focal_px: Tensor, *, iterations: int = 10
) -> robust.Fit:
    """Robust rotation from a start (B, 3, 3); the state's key is rotation."""
    return robust.minimise(
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
) -> robust.Fit:
    """Robust rotation and focal length together; state keys rotation, log_focal (B,); the last unknown is log focal."""
    return robust.minimise(
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
