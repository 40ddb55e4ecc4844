"""What looks alike belongs together: maps spread up to the edges of the image, and depth edges put on them."""

import cv2
import numpy as np

_SMOOTHNESS = 100.0
_SAME_COLOUR = 6.0
"""Grey levels within which neighbouring pixels belong together."""
_WINDOW = 11
"""Pixels within which a step of depth makes depth doubtful: flow and networks blur it so far."""
_STEP = 0.12
"""Range of log depth in that window that is a step."""
_SURE = 200.0
"""Confidence from which depth near a step is not doubted all the same."""
_DOUBTFUL = 0.02
"""Weight of depth near a step against depth elsewhere."""


class Alike:
    """What looks alike in an image, for smoothing up to its edges (fast global smoother, Min et al., TIP 2014)."""

    def __init__(self, image: np.ndarray, smoothness: float = _SMOOTHNESS):
        """Of image (H, W, 3) uint8."""
        self._filter = cv2.ximgproc.createFastGlobalSmootherFilter(image, smoothness, _SAME_COLOUR)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (H, W), smoothed."""
        return self._filter.filter(np.ascontiguousarray(values, np.float32))

    def mean(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Mean (H, W) of values by weight (H, W) > 0 over what looks alike."""
        return self.spread(values * weight) / np.maximum(self.spread(weight), 1e-9)


def sharpened(alike: Alike, log_depth: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Log depth (H, W) whose steps lie on the edges of the image: near them it comes from depth on their side.

    Args:
        alike: what looks alike in the frame.
        log_depth: (H, W).
        confidence: (H, W) of it, 1 / relative error.
    """
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    step = cv2.dilate(log_depth, window) - cv2.erode(log_depth, window)
    doubtful = (step > _STEP) & (confidence < _SURE)
    if not doubtful.any():
        return log_depth
    weight = np.where(doubtful, np.float32(_DOUBTFUL), np.float32(1))
    found = alike.mean(log_depth, weight)
    around = np.ones((_WINDOW + 4, _WINDOW + 4), np.uint8)
    found = np.clip(found, cv2.erode(log_depth, around), cv2.dilate(log_depth, around))
    return np.where(doubtful, found, log_depth)
