"""Errors of the four dynamic point maps of a pair, in unit mean norm (tables 3 of DPM and 1 of V-DPM).

Axes are those of `structures.PairTruth`: points (B, 2, 2, H, W, 3) = [pair, view, time], all in the first camera's
frame, so errors of the camera and of tracking count in full.
"""

from dataclasses import dataclass

import numpy as np

from dpm_cli.geometry.vectors import length
from dpm_cli.workshop.metrics.masked import mean_over_maps


def mean_norm(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean distance (B,) to the first camera over the valid points of all four maps of a pair."""
    norms = length(points.astype(np.float64))
    count = valid.sum((1, 2, 3, 4))
    total = np.where(valid, norms, 0).sum((1, 2, 3, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def unit_mean_norm(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The maps (B, 2, 2, H, W, 3) divided by their mean norm: one factor a pair."""
    return points / mean_norm(points, valid)[:, None, None, None, None, None]


@dataclass(frozen=True, eq=False)
class MapErrors:
    """Errors of each map, (B, 2, 2) = [pair, view, time], NaN where a map has no valid pixel."""

    epe: np.ndarray
    """Mean end-point error, prediction and truth each in unit mean norm (V-DPM, table 1)."""
    relative_pointwise: np.ndarray
    """L_rel read as the mean over points of error / distance; DPM's table 3 does not state its formula."""
    relative_ratio: np.ndarray
    """L_rel read as the mean error of a map over the mean distance of its true points."""


def map_errors(points: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> MapErrors:
    """Compare the four maps (B, 2, 2, H, W, 3) where `valid` (B, 2, 2, H, W)."""
    exact = unit_mean_norm(truth, valid)
    error, norms = length(unit_mean_norm(points, valid) - exact), length(exact)
    epe = mean_over_maps(error, valid)
    pointwise = mean_over_maps(error / np.maximum(norms, 1e-9), valid)
    return MapErrors(epe, pointwise, epe / mean_over_maps(norms, valid))


def four_map_epe(points: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean end-point error (B, 2, 2) of each map in unit mean norm, as in `map_errors`."""
    error = length(unit_mean_norm(points, valid) - unit_mean_norm(truth, valid))
    return mean_over_maps(error, valid)


def defining_law_error(
    points: np.ndarray, valid: np.ndarray, flow: np.ndarray, visible: np.ndarray
) -> np.ndarray:
    """How far P_1(t)(u_1) and P_2(t)(u_2) are apart for matching pixels: (B, 2) mean distance at t_1 and t_2.

    The defining law of dynamic point maps says 0 at the same t, also for moving points. `points`, `valid` are the
    four maps of one prediction (or of the truth), `flow` (B, H, W, 2) the true flow from image 1 to 2 in pixels,
    `visible` (B, H, W) where the point of image 1 is seen in image 2. Unit mean norm. Map 2 is read between its
    pixels, so truth itself scores the interpolation error of its surfaces; only matches whose four neighbours are
    valid count.
    """
    scaled = unit_mean_norm(points, valid)
    height, width = flow.shape[1:3]
    target = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) + flow
    corners, weights = _neighbours(target, height, width)
    errors = np.empty((len(points), 2))
    for t in (0, 1):
        matched = sum(
            w[..., None] * _gather(scaled[:, 1, t], c)
            for c, w in zip(corners, weights, strict=True)
        )
        complete = np.all(
            [_gather(valid[:, 1, t], c) & (w >= 0) for c, w in zip(corners, weights, strict=True)],
            0,
        )
        distance = length(scaled[:, 0, t] - matched)
        errors[:, t] = mean_over_maps(distance, visible & valid[:, 0, t] & complete)
    return errors


def _neighbours(
    pixels: np.ndarray, height: int, width: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The four integer neighbours (B, H, W, 2) of pixels and their bilinear weights, negative outside the image."""
    inside = ((pixels >= 0) & (pixels <= (width - 1, height - 1))).all(-1)
    low = np.clip(np.floor(pixels).astype(np.int64), 0, (max(width - 2, 0), max(height - 2, 0)))
    fraction = pixels - low
    corners, weights = [], []
    for dx in (0, 1):
        for dy in (0, 1):
            corners.append(np.minimum(low + (dx, dy), (width - 1, height - 1)))
            weight = np.abs(1 - dx - fraction[..., 0]) * np.abs(1 - dy - fraction[..., 1])
            weights.append(np.where(inside, weight, -1.0))
    return corners, weights


def _gather(maps: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Entries of maps (B, H, W, ...) at integer pixels (B, H, W, 2)."""
    return maps[np.arange(len(maps))[:, None, None], pixels[..., 1], pixels[..., 0]]
