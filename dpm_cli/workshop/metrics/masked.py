"""Means over the entries that count."""

import numpy as np


def masked_mean(values: np.ndarray, mask: np.ndarray) -> float:
    """Mean in float64 of `values` where `mask` (same shape) is true; NaN if nothing is."""
    chosen = values[mask]
    return float(chosen.mean(dtype=np.float64)) if chosen.size else float("nan")


def mean_over_maps(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean (...) of `values` (..., H, W) over the true pixels of `mask` (..., H, W), NaN where a map has none."""
    count = mask.sum((-2, -1))
    total = np.where(mask, values, 0).sum((-2, -1), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
