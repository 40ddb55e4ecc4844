"""What is wrong with the cameras of one look: the flow that small errors of them give to everything that stands still.

Alignment finds one pose a frame. What is left of its errors, and of shutters that read one line after the other, makes
residuals that are alike over whole areas and would pass for motion. So every look may move its other camera a little
once more: turn (3), shift (3), and turn from the first line to the last (3), by a robust fit to the residuals.
"""

from dataclasses import dataclass

import numpy as np

_SAMPLES = 72
"""Columns of the grid on which residuals are asked."""
_FEWEST = 60
"""Points of it below which nothing is fitted."""
_ROUNDS = 8
_HEAVY = 3.0
"""Squared residual, in those of the median, at which a point counts a quarter."""
_DAMPING = 1e-4
_LEAST_STILL = 0.02
NEAREST = 1e-3
"""Depth in the other camera, of that in its own, below which a projection means nothing."""
_NEAR = 6.0
"""Most inverse depth, of its median."""


@dataclass(frozen=True, eq=False)
class Landing:
    """Where static points fall in the other camera."""

    x: np.ndarray
    """(...) x / z."""
    y: np.ndarray
    """(...) y / z."""
    near: np.ndarray
    """(...) 1 / z, of its median."""
    line: np.ndarray
    """(...) height in the picture, from the middle, in half widths."""


def camera_noise(
    landing: Landing, residual: np.ndarray, seen: np.ndarray, still: np.ndarray
) -> np.ndarray:
    """Flow (2, H, W) float32 of the camera errors that explain most of a look's residual.

    Args:
        landing: of all pixels (H, W).
        residual: (2, H, W) pixels.
        seen: (H, W) bool, the residual means something.
        still: (H, W) 0..1, how surely a pixel stands still by what is known before.
    """
    step = max(1, round(max(seen.shape) / _SAMPLES))
    thin = (slice(step // 2, None, step),) * 2
    chosen = seen[thin]
    if chosen.sum() < _FEWEST:
        return np.zeros_like(residual)
    points = Landing(
        *(np.broadcast_to(p, seen.shape)[thin][chosen] for p in vars(landing).values())
    )
    found = residual[:, *thin][:, chosen]
    rows = np.stack([_flow(points, unit) for unit in np.eye(9, dtype=np.float32)])
    flat = rows.reshape(9, -1)
    prior = np.maximum(still[thin][chosen], _LEAST_STILL)
    weight, solved = np.ones_like(prior), np.zeros(9)
    for _ in range(_ROUNDS):
        weighted = flat * np.tile(weight * prior, 2)
        normal = weighted @ flat.T + _DAMPING * len(prior) * np.eye(9)
        solved = np.linalg.solve(normal, weighted @ found.ravel())
        left2 = ((found - np.tensordot(solved, rows, 1)) ** 2).sum(0)
        weight = 1 / (1 + left2 / (_HEAVY * (np.median(left2) + 1e-8))) ** 2
    return _flow(landing, solved.astype(np.float32))


def landing_of(turned: np.ndarray, step: np.ndarray, near: np.ndarray) -> Landing:
    """Landing of pixels (H, W).

    Args:
        turned: (3, H, W) rays in the other camera's axes.
        step: (3,) to it.
        near: (H, W) inverse depth in the own camera.
    """
    height, width = near.shape
    z = np.maximum(turned[2] + step[2] * near, NEAREST)
    x, y = ((turned[a] + step[a] * near) / z for a in (0, 1))
    inverse = near / z
    typical = np.median(inverse[::4, ::4]) + np.float32(1e-9)
    relative = np.minimum(inverse / typical, _NEAR)
    line = (np.arange(height, dtype=np.float32)[:, None] - height / 2) / (width / 2)
    return Landing(x, y, relative, line)


def _flow(at: Landing, errors: np.ndarray) -> np.ndarray:
    """Flow (2, ...) pixels of turn, shift and turn down the picture (9,), in pixels at the picture's middle."""
    turn = [errors[a] + errors[6 + a] * at.line for a in range(3)]
    shift = errors[3:6]
    across = turn[1] * (1 + at.x * at.x) - turn[0] * at.x * at.y - turn[2] * at.y
    down = turn[1] * at.x * at.y - turn[0] * (1 + at.y * at.y) + turn[2] * at.x
    across = across + at.near * (shift[0] - at.x * shift[2])
    down = down + at.near * (shift[1] - at.y * shift[2])
    return np.stack((across, down))
