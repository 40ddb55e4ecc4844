"""Errors of 3D point tracks: end-point error and APD, the share of points within a set of distances."""

import numpy as np

from dpm_cli.geometry.vectors import length
from dpm_cli.workshop.metrics.masked import masked_mean

WORLD_THRESHOLDS = (0.1, 0.3, 0.5, 1.0)
"""Metres: WorldTrack's APD."""
PIXEL_THRESHOLDS = (1, 2, 4, 8, 16)
"""TAPVid-3D's: a point may be off by what so many pixels are worth at its depth."""


def track_epe(tracks: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """Mean distance of tracks (T, N, 3) to the truth over the entries `counted` (T, N), in scene units."""
    return masked_mean(length(tracks - truth), counted)


def apd(
    tracks: np.ndarray,
    truth: np.ndarray,
    counted: np.ndarray,
    thresholds: tuple[float, ...] | np.ndarray = WORLD_THRESHOLDS,
) -> float:
    """Share of counted points within a threshold, averaged over thresholds: (K,) scalars or (K, T, N) distances."""
    distance = length(tracks - truth)
    limits = np.asarray(thresholds, np.float64)
    return float(
        np.mean([masked_mean((distance < limit).astype(np.float32), counted) for limit in limits])
    )


def pixel_thresholds(truth_camera: np.ndarray, focal_px: float) -> np.ndarray:
    """Distances (5, T, N) that 1, 2, 4, 8 and 16 pixels are worth at the true depth of tracks in camera frame."""
    depth = np.maximum(truth_camera[..., 2], 1e-9)
    return np.asarray(PIXEL_THRESHOLDS)[:, None, None] * depth / focal_px
