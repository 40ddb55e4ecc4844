"""Scale and shift between a prior's inverse depth and the run's depth, robustly and with what is expected of them.

    log(1 / depth) = log_scale + log(max(prior + shift, floor)),      prior in medians of its own

The shift is what a focal length or a network's own affine freedom leaves over: expected to be 0, give or take.
Residuals are in log depth, so near and far count alike; what disagrees (Geman-McClure) hardly counts.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dpm_cli.geometry.robust import weighted_median

FLOOR = 0.02
"""Least inverse depth after the shift, in medians of the prior."""
ALIKE = 25.0
"""Grid points that share one error: the weight of each is divided by it."""
_ITERATIONS = 20
_WIDTH = 3.0
"""Deviations at which a residual has a quarter of its weight."""
_LEAST = 0.02
_LOG_SCALE_SIGMA = 0.15
"""Deviation of one frame's log scale about the clip's."""


@dataclass(frozen=True)
class Affine:
    """A prior's place in the run's scale."""

    log_scale: float
    shift: float
    """In medians of the prior."""

    def log_inverse(self, prior: np.ndarray) -> np.ndarray:
        """Log inverse depth in the run's units of a prior in medians of its own."""
        return self.log_scale + np.log(np.maximum(prior + self.shift, FLOOR))


def median_of(values: np.ndarray, weights: np.ndarray) -> float:
    """Median of values (N,) with weights (N,); 0 of nothing."""
    return float(weighted_median(torch.from_numpy(values), torch.from_numpy(weights)))


def robust_spread(values: np.ndarray, weights: np.ndarray) -> float:
    """Deviation of values (N,) about their median, from the median of the absolute differences."""
    middle = median_of(values, weights)
    return 1.4826 * median_of(np.abs(values - middle), weights)


def fit_affine(
    prior: np.ndarray,
    log_inverse: np.ndarray,
    weight: np.ndarray,
    shift_sigma: float,
    start: Affine | None = None,
) -> Affine:
    """Fit N points.

    Args:
        prior: (N,) inverse depth in medians of the prior.
        log_inverse: (N,) of the run's inverse depth.
        weight: (N,) inverse variances; 0 = not used.
        shift_sigma: deviation of the shift about `start`'s.
        start: the clip's fit, from which a frame's is not expected to be far; None = the clip itself.
    """
    free = start is None
    begun = start or Affine(median_of(log_inverse - np.log(np.maximum(prior, FLOOR)), weight), 0)
    x = np.array((begun.log_scale, begun.shift))
    pull = np.array((0.0 if free else _LOG_SCALE_SIGMA**-2, shift_sigma**-2))
    w = weight / ALIKE
    if not (w > 0).any():
        return begun
    for _ in range(_ITERATIONS):
        moved = np.maximum(prior + x[1], FLOOR)
        r = log_inverse - x[0] - np.log(moved)
        width = _WIDTH * max(robust_spread(r, w), _LEAST)
        robust = w / (1 + (r / width) ** 2) ** 2
        slope = np.where(prior + x[1] > FLOOR, 1 / moved, 0)
        J = np.stack((np.ones_like(r), slope), 1)
        normal = (J * robust[:, None]).T @ J + np.diag(pull + 1e-9)
        gradient = J.T @ (robust * r) - pull * (x - (begun.log_scale, begun.shift))
        step = np.linalg.solve(normal, gradient)
        x = x + np.clip(step, -0.3, 0.3)
        if np.abs(step).max() < 1e-5:
            break
    return Affine(float(x[0]), float(x[1]))
