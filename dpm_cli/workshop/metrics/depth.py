"""Depth errors and the three ways of fixing the unknown scale (MonST3R's protocols).

Depth is z in scene units. The evaluation protocols fit one scale, or one scale and shift, per sequence by least
absolute deviations (the published code runs 1,000 steps of Adam on that objective; here it is minimised exactly).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from dpm_cli.geometry.robust import weighted_median
from dpm_cli.workshop.metrics.masked import masked_mean

FIT_SAMPLES = 400_000
"""A fit sees at most this many valid pixels, evenly spaced; the errors see all."""
_SMALLEST = 1e-6


@dataclass(frozen=True)
class DepthFit:
    """truth = scale * prediction + shift."""

    scale: float
    shift: float = 0.0

    def apply(self, depth: np.ndarray) -> np.ndarray:
        """Aligned depth, same shape."""
        return self.scale * depth + self.shift


@dataclass(frozen=True)
class DepthErrors:
    """Errors of aligned depth over all valid pixels of a sequence."""

    absrel: float
    """mean |d - g| / g, without unit."""
    delta_1_25: float
    """Fraction of pixels with max(d / g, g / d) < 1.25."""
    pixels: int


def depth_errors(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> DepthErrors:
    """Errors of `depth` against `truth` where `valid`; all of one shape, depth already aligned."""
    d, g = depth[valid].astype(np.float64), truth[valid].astype(np.float64)
    if not d.size:
        return DepthErrors(np.nan, np.nan, 0)
    error = np.abs(d - g)
    positive = np.maximum(d, _SMALLEST)
    ratio = np.maximum(positive / g, g / positive)
    return DepthErrors(float((error / g).mean()), float((ratio < 1.25).mean()), d.size)


def median_scale(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> DepthFit:
    """Ratio of the medians of truth and prediction."""
    d, g = _samples(depth, truth, valid)
    return DepthFit(float(np.median(g) / max(np.median(d), _SMALLEST)))


def lad_scale(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> DepthFit:
    """The scale s that minimises sum |s d - g|: the median of g / d weighted by d, exactly."""
    d, g = _samples(depth, truth, valid)
    keep = d > _SMALLEST
    if not keep.any():
        return DepthFit(1.0)
    ratio, weight = torch.from_numpy(g[keep] / d[keep]), torch.from_numpy(d[keep])
    return DepthFit(float(weighted_median(ratio, weight)))


def lad_scale_shift(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> DepthFit:
    """The scale s and shift t that minimise sum |s d + t - g|.

    For a fixed s the best t is the median of g - s d, which leaves a convex function of s alone; a bracket is grown
    around the plain scale and searched by Brent's method.
    """
    d, g = _samples(depth, truth, valid)

    def cost(scale: float) -> float:
        rest = g - scale * d
        return float(np.abs(rest - np.median(rest)).mean())

    spread = np.percentile(d, 75) - np.percentile(d, 25)
    if spread <= _SMALLEST * max(float(np.median(d)), _SMALLEST):
        return DepthFit(0.0, float(np.median(g)))
    start = float((np.percentile(g, 75) - np.percentile(g, 25)) / spread)
    bracket = (0.5 * start, max(start, _SMALLEST) * 1.1)
    found = minimize_scalar(cost, bracket=bracket, tol=1e-9)
    scale = float(found["x"])  # pyright: ignore[reportIndexIssue]
    return DepthFit(scale, float(np.median(g - scale * d)))


def fill(depth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Depth (H, W) with something everywhere: what is not `predicted` is put at the far end (98 %) of what is.

    A pixel without an estimate is claimed to be sky; where there is truth it must count, not be left out.
    """
    if not predicted.any():
        return np.ones_like(depth)
    return np.where(predicted, depth, np.percentile(depth[predicted], 98)).astype(depth.dtype)


def cover(predicted: np.ndarray, valid: np.ndarray) -> float:
    """Fraction of the pixels with truth (`valid`) for which there is a prediction (`predicted`, bool)."""
    return masked_mean(predicted.astype(np.float32), valid)


def _samples(
    depth: np.ndarray, truth: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    d, g = depth[valid].astype(np.float64), truth[valid].astype(np.float64)
    step = max(1, -(-d.size // FIT_SAMPLES))
    return d[::step], g[::step]
