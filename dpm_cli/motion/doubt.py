"""How exactly flow can know depth: its own noise, over how far a change of depth would move the point.

The noise is what a look leaves unexplained across the epipolar lines, where depth cannot explain anything. A depth is
as sure as the best of its looks makes it: errors of one frame's looks are alike, so many are hardly better than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.motion.look import Look, dot, parallax

_NORMAL_MEDIAN = 0.6745
"""Median absolute value of a normal distribution of unit deviation."""
_FLOOR_PX = 0.05
"""Noise that no flow is believed to beat."""
_FEW = 20


@dataclass(frozen=True, eq=False)
class GridLook:
    """A look on a grid of points: flow, focal length and centre in units of the spacing."""

    look: Look
    weight: np.ndarray
    """(h, w) 0..1, small where the point is hidden or moves by itself."""
    spacing: int
    """Pixels between the points."""

    @classmethod
    def of(cls, look: Look, weight: np.ndarray, spacing: int) -> "GridLook":
        """The look whose flow (h, w, 2) is in pixels and whose cameras are those of the pictures."""
        scaled = Look(
            look.other,
            look.stride,
            look.flow / spacing,
            look.back / spacing,
            look.other_from_own,
            _on_grid(look.K_own, spacing),
            _on_grid(look.K_other, spacing),
        )
        return cls(scaled, weight, spacing)


def error_by_flow(log_depth: np.ndarray, looks: Sequence[GridLook], least: float) -> np.ndarray:
    """Deviation (h, w) of log depth that flow can know at best; infinite where no look sees the point.

    Args:
        log_depth: (h, w) of the frame.
        looks: at it.
        least: weight from which a point counts as seen and static.
    """
    best = np.full(log_depth.shape, np.inf, np.float32)
    for one in looks:
        found = parallax(log_depth.astype(np.float32), one.look)
        seen = found.before & (one.weight > least)
        slope = np.sqrt(dot(found.per_log_depth)) + 1e-9
        x, y = found.per_log_depth
        across = np.abs(found.residual[0] * y - found.residual[1] * x) / slope
        if seen.sum() < _FEW:
            continue
        noise = max(np.median(across[seen]) / _NORMAL_MEDIAN, _FLOOR_PX / one.spacing)
        best = np.where(seen, np.minimum(best, noise / slope), best)
    return best


def _on_grid(K: np.ndarray, spacing: int) -> np.ndarray:
    """K of the points half a spacing from the border on."""
    out = K / spacing
    out[:2, 2] = (K[:2, 2] - spacing // 2) / spacing
    out[2, 2] = 1
    return out
