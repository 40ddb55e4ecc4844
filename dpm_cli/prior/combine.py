"""Two witnesses of one depth: the run's and a prior's, each with an expected relative error."""

import numpy as np

_OUTLIER = 3.0
"""Deviations of their difference beyond which the two mean different surfaces, and the surer one is taken."""


def combine(
    log_depth: np.ndarray,
    confidence: np.ndarray,
    prior_log_depth: np.ndarray,
    prior_sigma: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean by inverse variance, or the surer one where they contradict each other: a mean would invent a point between.

    Args:
        log_depth: (H, W) of the run.
        confidence: (H, W) 1 / expected relative error; 0 = knows nothing.
        prior_log_depth: (H, W) in the same scale.
        prior_sigma: (H, W) expected relative error; infinite = knows nothing.

    Returns:
        log depth (H, W) float32 and its confidence (H, W) float32, in which a difference counts as an error.
    """
    own, other = (
        np.square(confidence, dtype=np.float64),
        1 / np.square(prior_sigma, dtype=np.float64),
    )
    off = np.where(other > 0, prior_log_depth - log_depth, 0.0)
    expected = 1 / np.maximum(own, 1e-12) + 1 / np.maximum(other, 1e-12)
    beyond = np.maximum(off**2 / (_OUTLIER**2 * expected), 1)
    weak = np.minimum(own, other) / beyond
    own, other = (np.where(own < other, weak, own), np.where(own < other, other, weak))
    total = own + other
    share = other / np.maximum(total, 1e-12)
    variance = 1 / np.maximum(total, 1e-12) + share * (1 - share) * off**2
    fused = (log_depth + share * off).astype(np.float32)
    return fused, np.where(total > 0, variance**-0.5, 0).astype(np.float32)
