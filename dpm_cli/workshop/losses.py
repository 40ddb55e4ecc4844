"""Training losses: pure functions of what the mini network says and the truth of a batch of pairs.

Every term is averaged inside each pair first and over the batch afterwards, so that sparse pairs count as much as
dense ones (V-DPM). Lengths are compared after division by the median norm of all valid points of a pair's four maps,
prediction and truth each by its own, as in the paper. Data that knows less than four maps says so in `valid`; static
data has the same points at both times.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.geometry.rigid import so3_log
from dpm_cli.network.mini import MiniOutput
from dpm_cli.structures import PairTruth

_DENSE = 0.5
"""Four-map pairs with more valid pixels than this are rendered: what is not valid is sky, not missing."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; `hidden` is the weight of pixels not seen in the other image."""

    points: float = 1.0
    alpha: float = 0.2
    depth: float = 0.5
    gradient: float = 0.5
    coarse: float = 0.3
    movers: float = 0.6
    static: float = 2.0
    motion: float = 0.3
    sky: float = 0.1
    focal: float = 0.3
    pose: float = 1.0
    flow: float = 0.4
    match: float = 0.05
    epe: float = 1.0
    hidden: float = 1.0


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean (B,) of values (B, ...) where weight (B, ...) says how much; 0 where nothing counts."""
    total = weight.flatten(1).sum(1)
    return (values * weight).flatten(1).sum(1) / total.clamp_min(1e-6)


def median_norm(points: Tensor, valid: Tensor) -> Tensor:
    """Median distance (B,) from the first camera over every second valid pixel of four maps (B, 2, 2, H, W, 3)."""
    norms = points[..., ::2, ::2, :].norm(dim=-1)
    norms = norms.masked_fill(~valid[..., ::2, ::2], torch.nan).flatten(1)
    return norms.nanmedian(1).values.nan_to_num(1.0).clamp_min(1e-6)


def confidence_regression(distance: Tensor, log_confidence: Tensor, weight: Tensor, alpha: float):
    """Loss (B,) of paper eq. 2: C * distance - alpha log C with C = 1 + exp(c) as in DUSt3R."""
    log_c = F.softplus(log_confidence.clamp(-10, 6))
    return masked_mean(log_c.exp() * distance - alpha * log_c, weight)


def gradient_loss(error: Tensor, valid: Tensor, scales: tuple[int, ...] = (1, 4)) -> Tensor:
    """Mean absolute difference (B,) between neighbours of error (B, V, H, W), at several distances."""
    total = error.new_zeros(len(error))
    for s in scales:
        e, m = error[..., ::s, ::s], valid[..., ::s, ::s]
        down = masked_mean(
            (e[..., 1:, :] - e[..., :-1, :]).abs(), (m[..., 1:, :] & m[..., :-1, :]).float()
        )
        right = masked_mean((e[..., 1:] - e[..., :-1]).abs(), (m[..., 1:] & m[..., :-1]).float())
        total = total + down + right
    return total


def total_loss(
    out: MiniOutput, truth: PairTruth, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scalar to minimise and the mean of every unweighted term, detached, for the log."""
    scale = median_norm(truth.points, truth.valid)[:, None, None, None, None]
    own = median_norm(out.points.detach(), truth.valid)[:, None, None, None, None]
    seen = truth.visible.float() + weights.hidden * (~truth.visible).float()
    weight = truth.valid.float() * seen[:, :, None]
    error = out.points / own[..., None] - truth.points / scale[..., None]
    distance = (error.square().sum(-1) + 1e-8).sqrt()
    terms = {"points": confidence_regression(distance, out.log_confidence, weight, weights.alpha)}
    terms |= _depth_terms(out, truth, scale[..., 0], weight)
    terms |= _motion_terms(out, truth, scale, own, seen)
    terms |= _camera_terms(out, truth, scale, own)
    terms |= _flow_terms(out, truth)
    terms["epe"] = _epe(out.points, truth)
    total = sum(getattr(weights, name) * term for name, term in terms.items())
    assert isinstance(total, Tensor)
    return total.mean(), {name: term.mean().detach() for name, term in terms.items()}


def _epe(points: Tensor, truth: PairTruth) -> Tensor:
    """Mean error (B,) of the four maps in unit mean norm: what is scored in the end (metrics.four_map_epe).

    Confidence-weighted regression alone is content with large errors where it may doubt.
    """
    valid = truth.valid.float()
    factors = [
        masked_mean(p.norm(dim=-1), valid).clamp_min(1e-6) for p in (points.detach(), truth.points)
    ]
    own, scale = (f[:, None, None, None, None, None] for f in factors)
    return masked_mean(
        ((points / own - truth.points / scale).square().sum(-1) + 1e-8).sqrt(), valid
    )


def _depth_terms(
    out: MiniOutput, truth: PairTruth, scale: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    """Log depth at t_1 in camera 1, of both views; in absolute terms, which fixes the network's free scale."""
    z = truth.points[:, :, 0, ..., 2] / scale
    valid = truth.valid[:, :, 0] & (z > 1e-3)
    target = z.clamp_min(1e-3).log()
    error = out.log_depth - target
    step = out.log_depth.shape[-1] // out.coarse_log_depth.shape[-1]
    cell = slice(step // 2, None, step)
    coarse = (out.coarse_log_depth - target[..., cell, cell]).abs()
    return {
        "depth": masked_mean(error.abs(), weight[:, :, 0] * valid),
        "gradient": gradient_loss(error, valid),
        "coarse": masked_mean(coarse, valid[..., cell, cell].float()),
    }


def _motion_terms(
    out: MiniOutput, truth: PairTruth, scale: Tensor, own: Tensor, seen: Tensor
) -> dict[str, Tensor]:
    """Displacement of movers relative to its size, displacement of the static rest, and the two classifiers."""
    known = truth.valid.all(2)
    true_move = (truth.points[:, :, 1] - truth.points[:, :, 0]) / scale
    error = ((out.displacement / own - true_move).square().sum(-1) + 1e-8).sqrt()
    movers = (known & truth.moving).float() * seen
    size = masked_mean(true_move.norm(dim=-1), movers)
    dense = (truth.valid.any(2).float().flatten(1).mean(1) > _DENSE) & (truth.supervision == 0)
    sky = F.binary_cross_entropy_with_logits(
        out.valid_logit, truth.valid.any(2).float(), reduction="none"
    )
    motion = F.binary_cross_entropy_with_logits(
        out.motion_logit,
        truth.moving.float(),
        reduction="none",
        pos_weight=out.motion_logit.new_tensor(2.0),
    )
    return {
        "movers": masked_mean(error, movers) / (size + 0.05),
        "static": masked_mean(error, (known & ~truth.moving).float()),
        "motion": masked_mean(motion, known.float()),
        "sky": sky.flatten(1).mean(1) * dense,
    }


def _camera_terms(
    out: MiniOutput, truth: PairTruth, scale: Tensor, own: Tensor
) -> dict[str, Tensor]:
    """Log focal length, rotation in radians and translation in median norms."""
    height, width = truth.images.shape[-2:]
    unit = (height**2 + width**2) ** 0.5 / 2
    K = truth.intrinsics[:, 0]
    log_focal = ((K[:, 0, 0] * K[:, 1, 1]).sqrt() / unit).log()
    R = truth.cam2_from_cam1[:, :3, :3]
    vector = so3_log(R)
    turn = (out.pose_guess[:, :3] - vector).abs().sum(1)
    shift = (
        out.pose_guess[:, 3:] / own[:, 0, 0, 0] - truth.cam2_from_cam1[:, :3, 3] / scale[:, 0, 0, 0]
    )
    return {"focal": (out.log_focal - log_focal).abs(), "pose": turn + shift.abs().sum(1)}


def _flow_terms(out: MiniOutput, truth: PairTruth) -> dict[str, Tensor]:
    """Corrected flow, and what it says its error is (Laplace; the error itself is not pulled by that).

    The root of the error counts, so that a tenth of a pixel saved where matching is easy is worth as much as a pixel
    where it is not. Points that get hidden count a fifth: their match is a guess.
    """
    known = truth.valid.any(2)
    weight = known * (0.2 + 0.8 * truth.visible)
    error = (out.flow - truth.flow).square().sum(-1)
    far = (error.detach().sqrt() * weight).flatten(0, 1)[:, None]
    factor = error.shape[-1] // out.log_flow_error.shape[-1]
    total = F.avg_pool2d(weight.flatten(0, 1)[:, None], factor)
    cell = (F.avg_pool2d(far, factor) / total.clamp_min(1e-6)).unflatten(0, error.shape[:2])[
        :, :, 0
    ]
    log_error = out.log_flow_error.clamp(-5, 6)
    match = (cell.clamp(0.05, 100) / log_error.exp()).clamp_max(50) + log_error
    counts = (total > 0).unflatten(0, error.shape[:2])[:, :, 0].float()
    return {
        "flow": masked_mean((error + 1e-2).sqrt().sqrt(), weight),
        "match": masked_mean(match, counts),
    }
