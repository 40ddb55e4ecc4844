"""Scores of a network on pairs with truth, each the mean over pairs so that no large scene outweighs the rest."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, project, project_map
from dpm_cli.geometry.rigid import so3_exp, transform_map
from dpm_cli.network.mini import MiniOutput
from dpm_cli.network.mini.warp import half_diagonal
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.metrics.pointmaps import four_map_epe
from dpm_cli.workshop.train.batches import Batch


@dataclass(frozen=True)
class Scores:
    """Means over pairs; NaN where no pair could tell."""

    epe_11: float
    """P_1(t_1): end-point error, prediction and truth each in unit mean norm of the four maps."""
    epe_12: float
    """P_1(t_2)."""
    epe_21: float
    """P_2(t_1)."""
    epe_22: float
    """P_2(t_2)."""
    absrel: float
    """|d - g| / g of view 1's depth after scaling by the ratio of medians."""
    flow_epe: float
    """Pixels, of P_1(t_2) projected by the predicted camera against the true flow, where the point is seen."""
    measured_flow_epe: float
    """The same of the flow that the network was given."""
    motion_iou: float
    """Movers by the motion logit, over pairs that have movers."""
    mover_error: float
    """Mean error of movers' displacement / mean size of it, both views; 1 = nothing moves."""
    static_drift: float
    """Mean displacement of static points, unit mean norm."""
    focal_error: float
    """|log(f / f_true)|."""

    def row(self) -> dict[str, float]:
        """Name to number, for CSV and JSON."""
        return asdict(self)


def score_points(
    points: Tensor,
    truth: PairTruth,
    motion: Tensor,
    flow: Tensor,
    log_focal_error: Tensor,
    projected: Tensor | None = None,
) -> dict[str, np.ndarray]:
    """Scores (B,) of each pair.

    Args:
        points: (B, 2, 2, H, W, 3) four maps at any scale.
        truth: the pairs.
        motion: (B, 2, H, W) bool, what is said to move.
        flow: (B, 2, H, W, 2) pixels, measured.
        log_focal_error: (B,).
        projected: (B, H, W, 2) flow that P_1(t_2) means by its own camera; None = by the true one.
    """
    if projected is None:
        projected = _projected_flow(points, truth)
    valid = truth.valid
    epe = four_map_epe(points.cpu().numpy(), truth.points.cpu().numpy(), valid.cpu().numpy())
    true_scale = _mean(truth.points.norm(dim=-1), valid)
    own_scale = _mean(points.norm(dim=-1), valid)
    known = valid.all(2)
    move = (points[:, :, 1] - points[:, :, 0]) / _wide(own_scale, 5)
    true_move = (truth.points[:, :, 1] - truth.points[:, :, 0]) / _wide(true_scale, 5)
    movers = known & truth.moving
    error, size = (
        _mean((move - true_move).norm(dim=-1), movers),
        _mean(true_move.norm(dim=-1), movers),
    )
    both, either = (motion & movers), ((motion & known) | movers)
    iou = both.flatten(1).sum(1) / either.flatten(1).sum(1)
    iou = torch.where(movers.flatten(1).any(1), iou, torch.nan)
    seen = truth.visible[:, 0] & known[:, 0]
    rows = {
        "epe_11": epe[:, 0, 0],
        "epe_12": epe[:, 0, 1],
        "epe_21": epe[:, 1, 0],
        "epe_22": epe[:, 1, 1],
        "absrel": _absrel(points[:, 0, 0, ..., 2], truth.points[:, 0, 0, ..., 2], valid[:, 0, 0]),
        "flow_epe": _mean((projected - truth.flow[:, 0]).norm(dim=-1), seen),
        "measured_flow_epe": _mean((flow[:, 0] - truth.flow[:, 0]).norm(dim=-1), seen),
        "motion_iou": iou,
        "mover_error": error / size,
        "static_drift": _mean(move.norm(dim=-1), known & ~truth.moving),
        "focal_error": log_focal_error,
    }
    return {
        k: np.asarray(v.cpu() if isinstance(v, Tensor) else v, np.float64) for k, v in rows.items()
    }


@torch.no_grad()
def validate(network: torch.nn.Module, batches: Iterable[Batch], autocast: bool = False) -> Scores:
    """Score a network on batches; flow of every pair as measured, focal told where the batch tells it."""
    rows: list[dict[str, np.ndarray]] = []
    for batch in batches:
        images, K = batch.truth.images, batch.truth.intrinsics[:, 0]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            out = network(images, batch.flow, batch.focal_px, batch.noise_px, batch.prior)
        unit = (images.shape[-1] ** 2 + images.shape[-2] ** 2) ** 0.5 / 2
        focal_error = (out.log_focal - (K[:, 0, 0] / unit).log()).abs()
        moves = out.motion_logit > 0
        own_flow = projected_flow(out)
        rows.append(score_points(out.points, batch.truth, moves, batch.flow, focal_error, own_flow))
    return summarise(rows)


def summarise(rows: list[dict[str, np.ndarray]]) -> Scores:
    """Means over all pairs of several batches, pairs that cannot tell left out."""
    joined = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    return Scores(
        **{
            k: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan")
            for k, v in joined.items()
        }
    )


def projected_flow(out: MiniOutput) -> Tensor:
    """Flow (B, H, W, 2) in pixels of P_1(t_2) through the camera that the network says."""
    later = out.points[:, 0, 1]
    height, width = later.shape[1:3]
    unit = half_diagonal(height, width)
    later = later.flatten(1, 2) @ so3_exp(out.pose[:, :3]).transpose(1, 2) + out.pose[:, None, 3:]
    K = intrinsics_matrix(out.focal * unit, height, width)
    pixels = project(later, K, min_depth=1e-2).unflatten(1, (height, width))
    return pixels - pixel_grid(height, width, device=later.device)


def _projected_flow(points: Tensor, truth: PairTruth) -> Tensor:
    """Flow (B, H, W, 2) of P_1(t_2) through the true second camera, prediction scaled to the truth's mean norm."""
    scale = _mean(truth.points.norm(dim=-1), truth.valid) / _mean(points.norm(dim=-1), truth.valid)
    later = transform_map(truth.cam2_from_cam1, points[:, 0, 1] * _wide(scale, 4))
    height, width = later.shape[1:3]
    return project_map(later, truth.intrinsics[:, 1]) - pixel_grid(
        height, width, device=later.device
    )


def _absrel(depth: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    median = [
        d.masked_fill(~valid, torch.nan).flatten(1).nanmedian(1).values for d in (truth, depth)
    ]
    scaled = depth * _wide(median[0] / median[1], 3)
    return _mean((scaled - truth).abs() / truth.clamp_min(1e-6), valid)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (B,) over the true entries of `mask`, NaN where there is none."""
    chosen = torch.where(mask, values, 0).flatten(1).double().sum(1)
    return (chosen / mask.flatten(1).sum(1)).float()


def _wide(values: Tensor, dims: int) -> Tensor:
    return values.reshape(-1, *(1,) * (dims - 1))
