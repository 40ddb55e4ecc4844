"""Errors of the estimated focal length."""

import numpy as np


def focal_error(focal_px: np.ndarray, truth_px: np.ndarray) -> float:
    """Mean of |f / g - 1| over frames (T,), without unit."""
    return float(np.abs(np.asarray(focal_px, np.float64) / truth_px - 1).mean())


def fov_error_deg(focal_px: np.ndarray, truth_px: np.ndarray, width: int) -> float:
    """Mean error (T,) of the horizontal field of view in degrees, for images of `width` pixels."""
    fov, fov_truth = (
        2 * np.degrees(np.arctan(width / 2 / np.asarray(f, np.float64)))
        for f in (focal_px, truth_px)
    )
    return float(np.abs(fov - fov_truth).mean())
