"""One frame as another frame sees it: the flow that was measured, and the flow that a static world would have.

A static point of log depth l, seen from the other camera, lies at pixel p(l). The residual is measured flow minus
p(l) - u; dp/dl is how far a wrong depth moves p, along the epipolar line. So the residual across that line speaks of
motion whatever the depth, and the one along it only as far as the depth is sure.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.matching.consistency import comes_back

_NEAREST = 1e-3
"""Depth in the other camera, of that in its own, below which a projection means nothing."""
_COMES_BACK_PX = 1.0
_COMES_BACK_SHARE = 0.03
"""Forward-backward error at which a pixel still counts as seen: a pixel, plus this share of the flow's length."""


@dataclass(frozen=True, eq=False)
class Look:
    """Frame t seen in frame `other` by one pass."""

    other: int
    stride: int
    """Frames between the two."""
    flow: np.ndarray
    """(H, W, 2) float32 pixels, from frame t to the other."""
    back: np.ndarray
    """(H, W, 2) float32 pixels, from the other to frame t."""
    other_from_own: np.ndarray
    """(4, 4) camera t to the other camera."""
    K_own: np.ndarray
    """(3, 3)."""
    K_other: np.ndarray
    """(3, 3)."""

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Forward-backward error (H, W) in pixels, and bool: inside the other picture and nothing hides the point."""
        error, inside = comes_back(self.flow, self.back)
        allowed = _COMES_BACK_PX + _COMES_BACK_SHARE * norm(self.flow)
        return error, inside & (error < allowed)


@dataclass(frozen=True, eq=False)
class Parallax:
    """What a static world of a given depth does not explain of a look."""

    residual: np.ndarray
    """(H, W, 2) float32 pixels, measured minus static flow."""
    per_log_depth: np.ndarray
    """(H, W, 2) float32, pixels by which a static point moves per unit of log depth."""
    before: np.ndarray
    """(H, W) bool: in front of the other camera."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A look, measured against a static world."""

    stride: int
    """Frames to the other one."""
    parallax: Parallax
    error: np.ndarray
    """(H, W) float32 forward-backward error, pixels."""
    seen: np.ndarray
    """(H, W) bool, nothing hides the point in the other frame."""
    typical: float
    """Median length of the residual where seen, pixels: what is wrong with the whole look."""


def measured(log_depth: np.ndarray, look: Look) -> Seen:
    """A look at a frame whose log depth is (H, W)."""
    found = parallax(log_depth, look)
    error, not_hidden = look.seen()
    seen = not_hidden & found.before
    typical = float(np.median(norm(found.residual)[seen])) if seen.any() else np.inf
    return Seen(look.stride, found, error, seen, typical)


def parallax(log_depth: np.ndarray, look: Look) -> Parallax:
    """Residual and depth sensitivity at `log_depth` (H, W) of frame t."""
    pixels = pixel_map(*log_depth.shape)
    K, R = look.K_own, look.other_from_own[:3, :3].astype(np.float32)
    x, y = (pixels[..., a] - np.float32(K[a, 2]) for a in (0, 1))
    x, y = x / np.float32(K[0, 0]), y / np.float32(K[1, 1])
    step = look.other_from_own[:3, 3].astype(np.float32)
    near = np.exp(-log_depth)
    turned = [R[a, 0] * x + R[a, 1] * y + R[a, 2] for a in range(3)]
    z = turned[2] + step[2] * near
    before = z > _NEAREST
    z = np.maximum(z, _NEAREST)
    residual = np.empty_like(look.flow)
    slope = np.empty_like(look.flow)
    for a in (0, 1):
        focal, centre = np.float32(look.K_other[a, a]), np.float32(look.K_other[a, 2])
        ratio = (turned[a] + step[a] * near) / z
        residual[..., a] = pixels[..., a] + look.flow[..., a] - (ratio * focal + centre)
        slope[..., a] = (ratio * step[2] - step[a]) * (near / z * focal)
    return Parallax(residual, slope, before)


def pixel_map(height: int, width: int) -> np.ndarray:
    """(H, W, 2) float32 of (x, y)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack((x, y), -1)


def norm(vectors: np.ndarray) -> np.ndarray:
    """Length (H, W) of vectors (H, W, 2)."""
    return cv2.magnitude(
        np.ascontiguousarray(vectors[..., 0]), np.ascontiguousarray(vectors[..., 1])
    )


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products (H, W) of vectors (H, W, 2); many times as fast as a sum over so short an axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]
