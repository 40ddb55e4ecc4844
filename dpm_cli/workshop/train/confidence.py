"""Honest confidence: what the raw confidences of a network are worth, measured on validation pairs.

For each of the four maps, pixels are sorted into bins of equal count by raw confidence; the logarithm of a bin's mean
relative error is nearly a line in the raw value. That line is what `confidence = 1 / expected error` uses.
"""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.predictors.confidence_scale import ConfidenceScale
from dpm_cli.workshop.train.batches import Batch

_BINS = 20
_BIASES = np.linspace(-2.0, 2.0, 41)


@torch.no_grad()
def fit_confidence(network: torch.nn.Module, batches: Iterable[Batch]) -> ConfidenceScale:
    """Lines of the four maps and the motion threshold with the best mean IoU."""
    raw: list[list[Tensor]] = [[] for _ in range(4)]
    error: list[list[Tensor]] = [[] for _ in range(4)]
    overlap = []
    for batch in batches:
        truth = batch.truth
        out = network(truth.images, batch.flow, batch.focal_px, batch.noise_px, batch.prior)
        ratio = truth.points.norm(dim=-1) / out.points.norm(dim=-1).clamp_min(1e-6)
        scale = ratio.masked_fill(~truth.valid, torch.nan).flatten(1).nanmedian(1).values
        scaled = out.points * scale[:, None, None, None, None, None]
        relative = (scaled - truth.points).norm(dim=-1) / truth.points.norm(dim=-1).clamp_min(1e-6)
        for k in range(4):
            chosen = truth.valid[:, k // 2, k % 2]
            raw[k].append(F.softplus(out.log_confidence[:, k // 2, k % 2][chosen]).cpu())
            error[k].append(relative[:, k // 2, k % 2][chosen].cpu())
        overlap += _overlaps(out.motion_logit, truth.moving, truth.valid.all(2))
    lines = [
        _line(torch.cat(r).numpy(), torch.cat(e).numpy()) for r, e in zip(raw, error, strict=True)
    ]
    offset = ((lines[0][0], lines[1][0]), (lines[2][0], lines[3][0]))
    slope = ((lines[0][1], lines[1][1]), (lines[2][1], lines[3][1]))
    bias = float(_BIASES[np.mean(overlap, 0).argmax()]) if overlap else 0.0
    return ConfidenceScale(offset, slope, bias)


def _line(raw: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Offset and slope of log(mean error) over raw confidence; a flat line where the raw values do not vary."""
    order = np.argsort(raw)
    groups = [g for g in np.array_split(order, _BINS) if len(g)]
    x = np.array([raw[g].mean() for g in groups])
    y = np.log(np.array([error[g].mean() for g in groups]).clip(1e-4))
    slope, offset = np.polyfit(x, y, 1) if np.ptp(x) > 1e-3 else (0.0, 0.0)
    if slope >= 0:  # raw values that say nothing
        return float(np.log(max(error.mean(), 1e-4))), 0.0
    return float(offset), float(slope)


def _overlaps(logit: Tensor, moving: Tensor, known: Tensor) -> list[np.ndarray]:
    """IoU at every bias of each pair that has movers."""
    rows = []
    for pair in range(len(logit)):
        truth = moving[pair] & known[pair]
        if truth.any():
            found = [(logit[pair] + bias > 0) & known[pair] for bias in _BIASES.tolist()]
            rows.append(np.array([float((f & truth).sum() / (f | truth).sum()) for f in found]))
    return rows
