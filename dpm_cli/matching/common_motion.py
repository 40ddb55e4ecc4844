"""Flow measured again with the pair's common motion taken out.

A homography fitted to the flow brings the second image near the first; what is left to measure is small and patches
no longer turn or grow, so it is measured better where the camera zooms, rolls or turns fast.
"""

import cv2
import numpy as np

from dpm_cli.matching.choice import Both
from dpm_cli.matching.consistency import targets
from dpm_cli.matching.dis import dis_flow

_STEP = 12
_FEWEST = 50
"""Matches on a coarse grid below which there is no common motion."""
_THRESHOLD_PX = 2.0
_LEAST_PX = 1.0
"""Common motion below which resampling costs more than it saves."""


def without_common_motion(
    grey_1: np.ndarray, grey_2: np.ndarray, flow: np.ndarray, good: np.ndarray
) -> Both | None:
    """Flow both ways around the homography that most of `flow` (H, W, 2) agrees on where `good` (H, W) bool.

    None where there is no common motion, or hardly any.
    """
    there = _common_motion(flow, good)
    if there is None:
        return None
    return _around(grey_1, grey_2, there), _around(grey_2, grey_1, np.linalg.inv(there))


def _common_motion(flow: np.ndarray, good: np.ndarray) -> np.ndarray | None:
    """Homography (3, 3) from image 1 to 2."""
    height, width = good.shape
    y, x = np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP]
    kept = good[y, x]
    if kept.sum() < _FEWEST:
        return None
    source = np.stack((x[kept], y[kept]), -1).astype(np.float32)
    found, _ = cv2.findHomography(
        source, source + flow[y[kept], x[kept]], cv2.USAC_MAGSAC, _THRESHOLD_PX
    )
    if found is None or abs(np.linalg.det(found)) < 1e-9:
        return None
    shift = np.linalg.norm(_moved(found, source.astype(np.float64)) - source, axis=-1)
    return found if np.median(shift) > _LEAST_PX else None


def _around(grey_1: np.ndarray, grey_2: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Whole flow (H, W, 2) when what the homography leaves is measured in the second image brought to the first."""
    brought = cv2.warpPerspective(
        grey_2,
        homography,
        grey_1.shape[::-1],
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rest = targets(dis_flow(grey_1, brought, "sharp"))
    moved = cv2.perspectiveTransform(rest, homography)
    return moved - targets(np.zeros_like(moved))


def _moved(homography: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) under a homography; a point on its horizon goes far away, not to infinity."""
    moved = pixels @ homography[:, :2].T + homography[:, 2]
    z = moved[..., 2:]
    return moved[..., :2] / np.where(np.abs(z) < 1e-6, 1e-6, z)
