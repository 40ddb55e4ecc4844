"""What bundle adjustment changed of the depth and its confidence, carried from its grid to every pixel.

The change is smooth where the error was: passes are off by a wrong camera, not pixel by pixel. So it is averaged over
neighbours by how much the flows had to say there, and where they had nothing to say it is the frame's typical change.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_SIGMA = 1.0
"""Grid points over which the change is averaged."""
_FLOOR = 0.05
"""Support at which the frame's typical change counts half."""


@dataclass(frozen=True, eq=False)
class DepthCorrection:
    """Log factors of the depth and of the confidence of T frames on a grid."""

    log_factor: np.ndarray
    """(T, h, w) float32 of the depth."""
    log_confidence: np.ndarray
    """(T, h, w) float32 of the confidence."""
    origin_px: tuple[float, float]
    """(x, y) of the first grid point."""
    spacing_px: float

    def at_size(self, t: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Log factors (H, W) float32 of depth and confidence of frame `t`, bilinear; at the border the grid goes on."""
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        column, row = (
            (v - o) / self.spacing_px for v, o in zip((x, y), self.origin_px, strict=True)
        )
        depth, confidence = (
            cv2.remap(m[t], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for m in (self.log_factor, self.log_confidence)
        )
        return depth, confidence


def confidence_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Log factor (T, h, w) from the confidence that the passes had to the one that the flows give.

    Where the flows said nothing, as of what moves by itself, the passes' own word stands.
    """
    ratio = after / np.maximum(before, 1e-3)
    return np.log(np.clip(ratio, 1, 10)).astype(np.float32)


def smooth_correction(change: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Changes (T, h, w) of log depth averaged by their support (T, h, w) in 0..1."""
    out = np.zeros(change.shape, np.float32)
    for t, (delta, weight) in enumerate(zip(change, support, strict=True)):
        if not (weight > _FLOOR).any():
            continue
        typical = float(np.median(delta[weight > _FLOOR]))
        total, share = (
            cv2.GaussianBlur(m, (0, 0), _SIGMA, borderType=cv2.BORDER_REPLICATE)
            for m in (weight * delta, weight)
        )
        out[t] = (total + _FLOOR * typical) / (share + _FLOOR)
    return out
