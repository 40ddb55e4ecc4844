"""Where the network's own answers meet geometry: camera and depth by parallax from the corrected flow, fused depth.

Everything here but `fuse` has no gradient. The network says at 1/4 of the size, per pixel of both views: log depth,
correction of the match, log error of the match in pixels, motion logit, and how much parallax is to be believed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.network.mini.parallax import depth_by_parallax, refit
from dpm_cli.network.mini.warp import OFFSET_UNIT, half_diagonal, lift, match_ends, rigid_residual
from dpm_cli.twoview.resection import refine_pose

EVIDENCE_CHANNELS = 11
_EVERY = 2
"""The camera is fitted to every second pixel of each row and column."""
_FAR = 2.0
"""Log depth that fusing may move at most."""
_ROBUST = 0.3


@dataclass(frozen=True, eq=False)
class Solved:
    """What geometry says of B pairs."""

    R: Tensor
    """(B, 3, 3) camera 2 from camera 1, by epipolar geometry."""
    t: Tensor
    """(B, 3) unit translation that goes with it."""
    log_scale: Tensor
    """(B,) log of the baseline in the network's unit of length."""
    pose: Tensor
    """(B, 6) axis-angle and translation by fitting fused depth to the flow."""
    evidence: Tensor
    """(B, 2, 11, h, w) for the decoder: flow left over (2), displacement that explains it (3), fused log depth,
    parallax minus own log depth, its clearness, log pixels off the epipolar line, log error of the match, motion."""
    noise_px: Tensor
    """(B,) deviation of the flow that clearness was judged by, full-size pixels."""


@torch.no_grad()
def solve(
    found: Tensor,
    target: Tensor,
    pose: Tensor,
    hint: Tensor,
    focal: Tensor,
    pixel: float,
    noise_px: Tensor,
) -> Solved:
    """Fit the camera to the corrected flow, make depth by parallax, fuse, fit the pose to depth and flow.

    Args:
        found: (B, 2, 6, h, w) what the module lists, depth in absolute log.
        target: (B, 2, h, w, 2) given matches, normalised coordinates in the other view.
        pose: (B, 6) the network's guess.
        hint: (B, >= 6) axis-angle and translation fitted to the given flow.
        focal: (B,) in half diagonals.
        pixel: size of a full-size pixel in normalised coordinates.
        noise_px: (B,) deviation of the flow, full-size pixels.
    """
    log_depth, log_error, motion, gate = (found[:, :, k] for k in (0, 3, 4, 5))
    target = target + OFFSET_UNIT * found[:, :, 1:3].permute(0, 1, 3, 4, 2)
    first, second = match_ends(target)
    weight = torch.sigmoid(-motion) / (1 + (2 * log_error.clamp(-6, 6)).exp())
    few = (slice(None), slice(None), slice(0, None, _EVERY), slice(0, None, _EVERY))
    guesses = torch.stack((pose, hint[:, :6]), 1)
    turns, shifts = guesses[..., :3], guesses[..., 3:]
    R, t = refit(first[few], second[few], weight[few], focal, pixel, noise_px, turns, shifts)
    near, clear, off = depth_by_parallax(first, second, focal, pixel, noise_px, R, t)
    log_scale = agree(log_depth - near, weight * clear * torch.sigmoid(gate) + 1e-6)
    apart = (near + log_scale[:, None, None, None] - log_depth).clamp(-_FAR, _FAR)
    fused = log_depth + torch.sigmoid(gate) * clear * apart
    points = lift(fused.exp(), first, focal)
    fitted = refine_pose(pose[:, None], points[few], second[few], weight[few], focal, pixel)
    residual, shift = rigid_residual(points, fitted, focal, second)
    parts = (
        residual / pixel * 0.2,
        shift / points[..., 2:] * 10,
        torch.stack((fused, apart, clear, (off + 0.1).clamp_max(20).log(), log_error, motion), -1),
    )
    evidence = torch.cat(parts, -1).clamp(-10, 10).permute(0, 1, 4, 2, 3)
    return Solved(R, t, log_scale, fitted, evidence, noise_px)


def fuse(
    log_depth: Tensor, gate: Tensor, target: Tensor, scene: Solved, focal: Tensor, pixel: float
) -> Tensor:
    """Own log depth (B, 2, H, W) drawn to depth by parallax by the share sigmoid(gate), less where that is unclear.

    Args:
        log_depth: (B, 2, H, W).
        gate: (B, 2, H, W) logit.
        target: (B, 2, H, W, 2) corrected matches, without gradient.
        scene: the camera.
        focal: (B,), without gradient.
        pixel: size of a pixel in normalised coordinates.
    """
    ends = match_ends(target)
    near, clear, _ = depth_by_parallax(*ends, focal, pixel, scene.noise_px, scene.R, scene.t)
    apart = (near + scene.log_scale[:, None, None, None] - log_depth).clamp(-_FAR, _FAR)
    return log_depth + torch.sigmoid(gate) * clear * apart


def agree(difference: Tensor, weight: Tensor) -> Tensor:
    """Weighted robust mean (B,) of (B, ...): the mean, then twice the mean of what is near it."""
    difference, weight = difference.flatten(1), weight.flatten(1)
    robust = weight
    for _ in range(3):
        mean = (difference * robust).sum(1) / robust.sum(1)
        robust = weight / (1 + ((difference - mean[:, None]) / _ROBUST).square())
    return mean


def final_pose(maps: Tensor, found: Tensor, target: Tensor, pose: Tensor, focal: Tensor) -> Tensor:
    """Pose (B, 6) fitted to the final points of every fourth pixel of each row and column."""
    few = (slice(None), slice(None), slice(2, None, 4), slice(2, None, 4))
    offset = OFFSET_UNIT * maps[:, :, 1:3].permute(0, 1, 3, 4, 2)
    first, second = match_ends(target + offset)
    points = lift(maps[:, :, 0].exp()[few], first[few], focal)
    weight = torch.sigmoid(-maps[:, :, 9])[few] / (1 + (2 * found[:, :, 3].clamp(-6, 6)).exp())
    pixel = 1 / half_diagonal(*maps.shape[-2:])
    return refine_pose(pose[:, None], points, second[few], weight, focal, pixel)
