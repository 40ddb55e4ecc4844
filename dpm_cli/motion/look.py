"""One frame as another frame sees it: the flow that was measured, and the flow that a static world would have.

A static point of log depth l, seen from the other camera, lies at pixel p(l). The residual is measured flow minus
p(l) - u; dp/dl is how far a wrong depth moves p, along the epipolar line. So the residual across that line speaks of
motion whatever the depth, and the one along it only as far as the depth is sure.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpm_cli.matching.consistency import comes_back, length, targets
from dpm_cli.motion.camera_noise import NEAREST, camera_noise, landing_of

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
        allowed = _COMES_BACK_PX + _COMES_BACK_SHARE * length(self.flow)
        return error, inside & (error < allowed)


@dataclass(frozen=True, eq=False)
class Parallax:
    """What a static world of a given depth does not explain of a look."""

    residual: np.ndarray
    """(2, H, W) float32 pixels, measured minus static flow."""
    per_log_depth: np.ndarray
    """(2, H, W) float32, pixels by which a static point moves per unit of log depth."""
    before: np.ndarray
    """(H, W) bool: in front of the other camera."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A look, measured against a static world."""

    stride: int
    """Frames to the other one."""
    residual: np.ndarray
    """(2, H, W) float32 pixels, measured minus static flow."""
    slope: np.ndarray
    """(2, H, W) float32, pixels by which a static point moves per unit of log depth."""
    slope2: np.ndarray
    """(H, W) float32, its square."""
    change: np.ndarray
    """(H, W) float32, of log depth, that explains the residual along the epipolar line."""
    across2: np.ndarray
    """(H, W) float32 square pixels, the residual across that line."""
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
    slope2 = dot(found.per_log_depth) + 1e-9
    along = _along(found.residual, found.per_log_depth, slope2, seen)
    return Seen(
        stride=look.stride,
        slope=found.per_log_depth,
        slope2=slope2,
        error=error,
        seen=seen,
        **along,
    )


def without_camera_noise(
    seen: Seen, log_depth: np.ndarray, opinion: np.ndarray, look: Look
) -> Seen:
    """What is left of `seen`, measured at `log_depth` (H, W), when errors of the cameras explain what they can.

    The predictor's opinion (H, W) 0..1 of what moves keeps movers out of those. Depth is not to be had from the result:
    a shift of the camera explains a depth that is wrong everywhere.
    """
    landing = landing_of(*turned_rays(look, log_depth.shape), np.exp(-log_depth))
    residual = seen.residual - camera_noise(landing, seen.residual, seen.seen, 1 - opinion)
    return replace(seen, **_along(residual, seen.slope, seen.slope2, seen.seen))


def _along(
    residual: np.ndarray, slope: np.ndarray, slope2: np.ndarray, seen: np.ndarray
) -> dict[str, Any]:
    """Fields of `Seen` that follow from the residual (2, H, W)."""
    length2 = dot(residual)
    change = dot(residual, slope) / slope2
    return {
        "residual": residual,
        "change": change,
        "across2": np.maximum(length2 - change * change * slope2, 0),
        "typical": _typical(length2, seen),
    }


def parallax(log_depth: np.ndarray, look: Look) -> Parallax:
    """Residual and depth sensitivity at `log_depth` (H, W) of frame t."""
    turned, step = turned_rays(look, log_depth.shape)
    near = np.exp(-log_depth)
    z = turned[2] + step[2] * near
    before = z > NEAREST
    z = np.maximum(z, NEAREST)
    residual = planes(targets(look.flow))
    slope = np.empty_like(residual)
    for a in (0, 1):
        focal, centre = np.float32(look.K_other[a, a]), np.float32(look.K_other[a, 2])
        ratio = (turned[a] + step[a] * near) / z
        residual[a] -= ratio * focal + centre
        slope[a] = (ratio * step[2] - step[a]) * (near / z * focal)
    return Parallax(residual, slope, before)


def turned_rays(look: Look, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rays (3, H, W) of frame t, z = 1 in its camera, in the other camera's axes, and the step (3,) between the two."""
    x, y, _ = own_rays(look.K_own, size)
    motion = look.other_from_own.astype(np.float32)
    turned = np.empty((3, *size), np.float32)
    for row, out in zip(motion, turned, strict=False):
        np.add(row[0] * x + row[2], row[1] * y, out=out)
    return turned, motion[:3, 3]


def own_rays(K: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Rays through all pixels: x (1, W), y (H, 1) and z = 1, float32."""
    K = K.astype(np.float32)
    x = (np.arange(size[1], dtype=np.float32) - K[0, 2]) / K[0, 0]
    y = (np.arange(size[0], dtype=np.float32) - K[1, 2]) / K[1, 1]
    return x[None], y[:, None], np.float32(1)


def planes(vectors: np.ndarray) -> np.ndarray:
    """(N, H, W) of vectors (H, W, N): arithmetic on whole planes is several times as fast."""
    return np.ascontiguousarray(vectors.transpose(2, 0, 1))


def dot(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Scalar products (H, W) of vectors in planes (2, H, W), by default with themselves."""
    b = a if b is None else b
    return a[0] * b[0] + a[1] * b[1]


def _typical(length2: np.ndarray, seen: np.ndarray) -> float:
    """Root of the median of squares (H, W) where seen, of every other row and column."""
    thin = (slice(None, None, 2), slice(None, None, 2))
    chosen = length2[thin][seen[thin]]
    return float(np.sqrt(np.median(chosen))) if len(chosen) else np.inf
