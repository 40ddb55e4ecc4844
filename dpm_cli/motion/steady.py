"""One depth through time: what neighbouring frames see of the same thing must agree.

A pixel's flow leads to a ray of the neighbour. The point of that ray nearest to the pixel's own point is where the
thing is then: there exactly if it stands still, and if it moves, as little as the flow allows. The neighbour's own
depth there, against this, is the same depth measured once more. The mean of what agrees takes the flicker out of what
stands still and keeps what moves from pumping.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.matching.consistency import follow, targets
from dpm_cli.motion.look import Look, pixel_map

_AGREE, _AGREE_MOVING = 0.04, 0.2
"""Difference of log depth at which a neighbour counts a quarter, of what stands still and of what moves."""
_SURE = 150.0
"""Confidence at which a frame's own depth counts as much again as a neighbour's."""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a neighbour says of a frame's depth."""

    log_depth: np.ndarray
    """(H, W) float32, at the frame's pixels and time."""
    weight: np.ndarray
    """(H, W) float32, 0 where the neighbour does not see the pixel."""


def steadied(
    log_depth: np.ndarray,
    confidence: np.ndarray,
    dynamic: np.ndarray,
    opinions: Sequence[Opinion],
) -> np.ndarray:
    """Mean log depth (H, W) of a frame's own and of the neighbours that agree.

    Args:
        log_depth: (H, W) the frame's own.
        confidence: (H, W) of it, 1 / relative error.
        dynamic: (H, W) motion score.
        opinions: of the neighbours.
    """
    width = _AGREE + (_AGREE_MOVING - _AGREE) * dynamic
    share = 1 + (confidence / _SURE) ** 2
    total = share * log_depth
    for said in opinions:
        off = (said.log_depth - log_depth) / width
        trust = said.weight / (1 + off * off) ** 2
        total += trust * said.log_depth
        share += trust
    return total / np.maximum(share, 1e-9)


def transported(log_depth: np.ndarray, look: Look, other: np.ndarray) -> np.ndarray:
    """Log depth (H, W) of a frame as log depth `other` (H, W) of the frame that it looks at tells it."""
    there = landed(log_depth, look)
    return log_depth + follow(other, look.flow) - np.log(there[..., 2])


def landed(log_depth: np.ndarray, look: Look) -> np.ndarray:
    """Where things are at the other frame (H, W, 3), in its camera: on the flow's ray, nearest to where they were."""
    own = unprojected(log_depth, look.K_own)
    moved = own @ look.other_from_own[:3, :3].T.astype(np.float32)
    moved += look.other_from_own[:3, 3].astype(np.float32)
    ray = _rays(targets(look.flow), look.K_other)
    along = (moved[..., 0] * ray[..., 0] + moved[..., 1] * ray[..., 1] + moved[..., 2]) / (
        ray[..., 0] ** 2 + ray[..., 1] ** 2 + 1
    )
    return ray * np.maximum(along, 1e-6)[..., None]


def unprojected(log_depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Points (H, W, 3) in the camera of log depth (H, W)."""
    return _rays(pixel_map(*log_depth.shape), K) * np.exp(log_depth)[..., None]


def _rays(pixels: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Directions (H, W, 3) float32 with z = 1 through pixels (H, W, 2)."""
    out = np.ones((*pixels.shape[:2], 3), np.float32)
    for a in (0, 1):
        out[..., a] = (pixels[..., a] - np.float32(K[a, 2])) / np.float32(K[a, a])
    return out
