"""Depth of what stands still, triangulated from every look at it, and fused with what the passes said of it.

Along its epipolar line a look's residual is the depth's error times the line's slope, so each look gives a change of
log depth and, by the flow's own noise, how much that is worth: forward-backward error near by, texture along the line,
and what the whole look leaves unexplained. A robust mean of all looks follows, whose worth is divided by the number of
looks (they share the frame's own errors) and by how badly they disagree. Worth and change are spread over what looks
alike, and where flows say little the passes' depth stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.motion.edges import Alike
from dpm_cli.motion.look import Seen

_FLOOR_PX = 0.1
_PATCH = 9
_GREY_NOISE = 2.0
"""Grey levels by which the same point differs between two images."""
_NEAR = 11
"""Pixels over which a flow's error is alike."""
_ACROSS = 9.0
"""Squared deviations across the epipolar line at which a look counts a quarter."""
_AGREE = 4.0
"""The same of a look's change of depth against the others'."""
_ROUNDS = 3
_MOST = 0.3
"""Change of log depth that flows may make."""
_PRIOR = 0.05
"""Worth of the passes' confidence squared: errors of neighbouring pixels are alike, so they are easily overruled."""


@dataclass(frozen=True, eq=False)
class DepthChange:
    """What the looks want of a frame's log depth."""

    change: np.ndarray
    """(H, W) float32, to be added to log depth, if the pixel stands still."""
    worth: np.ndarray
    """(H, W) float32, inverse variance of it; 0 where no look has parallax."""


def triangulate(image: np.ndarray, looks: Sequence[Seen]) -> DepthChange:
    """Change of the log depth that `looks` were taken at, of a frame with `image` (H, W, 3) uint8."""
    if not looks:
        zeros = np.zeros(image.shape[:2], np.float32)
        return DepthChange(zeros, zeros)
    tensor = _inverse_tensor(image)
    changes = np.stack([look.change for look in looks])
    worths = np.stack([_worth(look, tensor) for look in looks])
    mean = (changes * worths).sum(0) / np.maximum(worths.sum(0), 1e-9)
    agreed = worths
    for _ in range(_ROUNDS):
        agreed = worths / (1 + (changes - mean) ** 2 * worths / _AGREE) ** 2
        mean = (changes * agreed).sum(0) / np.maximum(agreed.sum(0), 1e-9)
    rest = ((changes - mean) ** 2 * agreed).sum(0) / np.maximum((agreed > 0).sum(0), 1)
    return DepthChange(mean, agreed.sum(0) / np.maximum(rest, 1) / len(looks))


def improved_log_depth(
    alike: Alike,
    log_depth: np.ndarray,
    confidence: np.ndarray,
    wanted: DepthChange,
    still: np.ndarray,
) -> np.ndarray:
    """Log depth (H, W) with the change that flows want where things stand still.

    Args:
        alike: what looks alike in the frame.
        log_depth: (H, W) of the passes.
        confidence: (H, W) of it.
        wanted: by the looks.
        still: (H, W) 0..1, weight of the assumption that the pixel stands still.
    """
    worth = wanted.worth * still
    pull = np.clip(wanted.change, -_MOST, _MOST) * worth
    total, found, held = (alike.spread(m) for m in (pull, worth, _PRIOR * confidence**2))
    return log_depth + total / np.maximum(found + held, 1e-6)


def _worth(look: Seen, tensor: np.ndarray) -> np.ndarray:
    """Inverse variance (H, W) of the change of log depth that one look wants."""
    x, y = look.slope
    texture = (tensor[0] * x * x + 2 * tensor[1] * x * y + tensor[2] * y * y) / look.slope2
    error2 = cv2.blur(np.minimum(look.error, 8) ** 2, (_NEAR, _NEAR))
    floor = (_FLOOR_PX * x.shape[1] / 512) ** 2
    variance = look.typical**2 + floor + 2 * error2 + texture
    trust = look.seen / (1 + look.across2 / (_ACROSS * variance)) ** 2
    return trust * look.slope2 / variance


def _inverse_tensor(image: np.ndarray) -> np.ndarray:
    """(3, H, W) xx, xy, yy of the flow's covariance by texture, px^2 (Foerstner 1987)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gx, gy = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    xx, xy, yy = (_PATCH**2 * cv2.blur(m, (_PATCH, _PATCH)) for m in (gx * gx, gx * gy, gy * gy))
    xx, yy = xx + _GREY_NOISE**2, yy + _GREY_NOISE**2
    scale = _GREY_NOISE**2 / np.maximum(xx * yy - xy * xy, 1e-9)
    return np.stack((scale * yy, -scale * xy, scale * xx))
