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
from dpm_cli.motion.look import Look, planes, turned_rays

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
    return log_depth + follow(other, look.flow) - np.log(landed(log_depth, look).z)


@dataclass(frozen=True, eq=False)
class Landed:
    """Where things are at the other frame, in its camera: on the flow's ray, nearest to where they were."""

    ray: tuple[np.ndarray, np.ndarray, np.float32]
    """x, y (H, W) float32 and z = 1."""
    z: np.ndarray
    """(H, W) float32 depth on it."""
    moved: np.ndarray
    """(3, H, W) float32, where they were."""


def landed(log_depth: np.ndarray, look: Look) -> Landed:
    """Things of log depth (H, W) of a frame at the frame that it looks at."""
    moved, step = turned_rays(look, log_depth.shape)
    depth = np.exp(log_depth)
    for plane, along in zip(moved, step, strict=True):
        plane *= depth
        plane += along
    K = look.K_other.astype(np.float32)
    x, y = ((p - K[a, 2]) / K[a, a] for a, p in enumerate(planes(targets(look.flow))))
    z = (moved[0] * x + moved[1] * y + moved[2]) / (x * x + y * y + 1)
    return Landed((x, y, np.float32(1)), np.maximum(z, 1e-6), moved)
