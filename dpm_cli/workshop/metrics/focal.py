"""Errors of the estimated focal length."""

import numpy as np


def focal_error(focal_px: np.ndarray, truth_px: np.ndarray) -> float:
    """Mean of |f / g - 1| over frames (T,), without unit."""
    return float(np.abs(np.asarray(focal_px, np.float64) / truth_px - 1).mean())
