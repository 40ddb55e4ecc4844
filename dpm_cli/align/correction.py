"""What bundle adjustment changed of the depth, carried from its grid to every pixel.

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
    """Log factors of the depth of T frames on a grid."""

    log_factor: np.ndarray
    """(T, h, w) float32."""
    origin_px: tuple[float, float]
    """(x, y) of the first grid point."""
    spacing_px: float

    def at_size(self, t: int, size: tuple[int, int]) -> np.ndarray:
        """Log factor (H, W) float32 of frame `t`, bilinear; beyond the grid its border goes on."""
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        place = ((v - o) / self.spacing_px for v, o in zip((x, y), self.origin_px, strict=True))
        return cv2.remap(
            self.log_factor[t], *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


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
