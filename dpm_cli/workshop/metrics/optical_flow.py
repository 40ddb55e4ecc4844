"""Errors of optical flow and of matches, in pixels."""

from dataclasses import dataclass

import numpy as np

from dpm_cli.geometry.vectors import length
from dpm_cli.workshop.metrics.masked import masked_mean


@dataclass(frozen=True)
class FlowErrors:
    """Errors over the valid pixels."""

    epe: float
    """Mean end-point error in pixels."""
    fl: float
    """KITTI's Fl: fraction of pixels that are off by more than 3 px and by more than 5 % of the true length."""
    within_1px: float
    """Fraction of pixels."""


def flow_errors(flow: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> FlowErrors:
    """Compare flow (..., 2) in pixels where `valid` (...); matches count the same way, as pixel positions."""
    error = length(flow.astype(np.float64) - truth)
    size = length(truth.astype(np.float64))
    wrong = (error > 3) & (error > 0.05 * size)
    shares = [masked_mean(m.astype(np.float32), valid) for m in (wrong, error <= 1)]
    return FlowErrors(masked_mean(error, valid), *shares)
