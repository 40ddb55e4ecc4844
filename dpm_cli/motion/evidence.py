"""The rule of motion: log odds that a pixel moves by itself, from every look at it, before space and time are asked.

Each look's residual is measured in deviations of its own static mode, its part along the epipolar line also in those of
the depth. Static residuals have heavy tails, so the evidence is the logarithm of the residual, not its square: it is 0
at `_THRESHOLD` deviations and worth no more than `_MOST` either way. Of the two neighbours of one stride that see the
pixel the smaller speaks (a mover moves before and after; a place that is uncovered is wrong only once); strides are
averaged, and the predictor's own opinion, which knows things from their looks, is added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.motion.look import Seen

_THRESHOLD = 7.0
"""Residual, in medians of its look, at which motion and rest are equally likely."""
_MOST = 3.0
"""Log odds that one stride can say."""
_FLOOR_PX = 0.05
"""Residual median of a 512 pixel wide picture that no flow is believed to beat."""
_DEPTH_SHARE = 0.17
"""Deviation of fused log depth, of what its confidence says: that is cautious, and a mover's error of depth is part of
what must be seen."""
_OPINION = 0.6
"""Weight of the predictor's log odds."""
_UNSEEN = -0.5
"""Log odds where no look sees the pixel, before the predictor is asked."""
_UNSEEN_CERTAINTY = 0.1


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the looks at one frame say of motion."""

    log_odds: np.ndarray
    """(H, W) float32 that the pixel moves by itself."""
    certainty: np.ndarray
    """(H, W) float32, 1 where some look sees the pixel, little where none does."""


def motion_evidence(confidence: np.ndarray, opinion: np.ndarray, looks: Sequence[Seen]) -> Evidence:
    """Log odds of motion of one frame.

    Args:
        confidence: (H, W) of its fused depth, 1 / relative error.
        opinion: (H, W) score of the predictor, 0..1.
        looks: measured at that depth; none = nothing is known beside the opinion.
    """
    smallest: dict[int, np.ndarray] = {}
    depth_variance = (_DEPTH_SHARE / np.maximum(confidence, 1)) ** 2
    for look in looks:
        said = _log_residual(depth_variance, look)
        smallest[look.stride] = np.fmin(smallest.get(look.stride, said), said)
    total = np.zeros_like(confidence)
    strides = np.zeros_like(confidence)
    for said in smallest.values():
        known = np.isfinite(said)
        total += np.where(known, np.clip(said, -_MOST, _MOST), 0)
        strides += known
    seen = strides > 0
    log_odds = np.where(seen, total / np.maximum(strides, 1), _UNSEEN)
    own = np.clip(np.log((opinion + 0.01) / (1.01 - opinion)), -_MOST, _MOST)
    return Evidence(
        (log_odds + _OPINION * own).astype(np.float32),
        np.where(seen, 1, _UNSEEN_CERTAINTY).astype(np.float32),
    )


def _log_residual(depth_variance: np.ndarray, look: Seen) -> np.ndarray:
    """(H, W) 2 log(residual / threshold), NaN where the look does not see the pixel."""
    noise = look.typical**2 + (_FLOOR_PX * depth_variance.shape[1] / 512) ** 2
    along2 = look.change**2 * look.slope2
    square = look.across2 / noise + along2 / (noise + look.slope2 * depth_variance)
    said = np.log(square + 1e-6) - 2 * math.log(_THRESHOLD)
    said[~look.seen] = np.nan
    return said
