"""How many other frames confirm what stands still in a frame, and how many see through it.

A point of frame t is projected into other frames of its shot. One that sees it confirms it (its own depth there is
the same), sees something farther (the point would hide it: contradicted), or something nearer (hidden: no opinion).
Flying pixels at edges and wrong depth of single frames are what others contradict.
"""

from dataclasses import dataclass

import numpy as np

from dpm_cli.sequence import Sequence4D
from dpm_cli.sequence.frame import world_points

_OTHERS = 8
"""Frames that are asked, spread evenly through the shot."""
_SAME_DEPTH = 0.03
"""Difference of log depth up to which two frames see the same surface."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """What other frames say of the pixels of one frame."""

    confirmed: np.ndarray
    """(H, W) number of frames that see the point where it is."""
    contradicted: np.ndarray
    """(H, W) number of frames that see through it."""
    asked: int
    """Number of frames that were asked."""


def agreement(sequence: Sequence4D, t: int) -> Agreement:
    """Ask frames around `t` about its points."""
    depth = sequence.read(t, "depth")
    assert depth is not None
    points = world_points(depth, sequence.cam2world[t], sequence.intrinsics[t]).reshape(-1, 3)
    confirmed, contradicted = (np.zeros(len(points), np.int32) for _ in range(2))
    others = _asked(sequence, t)
    for s in others:
        seen, inside = _log_depth_seen(sequence, s, points)
        confirmed += inside & (np.abs(seen) <= _SAME_DEPTH)
        contradicted += inside & (seen > _SAME_DEPTH)
    size = sequence.size
    return Agreement(confirmed.reshape(size), contradicted.reshape(size), len(others))


def _asked(sequence: Sequence4D, t: int) -> np.ndarray:
    """Other registered frames of the same shot."""
    same = sequence.camera_ok & (sequence.shot == sequence.shot[t])
    same[t] = False
    others = np.flatnonzero(same)
    if len(others) <= _OTHERS:
        return others
    return others[np.linspace(0, len(others) - 1, _OTHERS).round().astype(int)]


def _log_depth_seen(
    sequence: Sequence4D, s: int, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much farther than points (N, 3) frame `s` sees, in log depth (N,), and which points it has an answer for."""
    world2cam = np.linalg.inv(sequence.cam2world[s])
    local = points @ world2cam[:3, :3].T + world2cam[:3, 3]
    z = np.maximum(local[:, 2], 1e-9)
    pixels = np.rint((local / z[:, None]) @ sequence.intrinsics[s].T[:, :2])
    height, width = sequence.size
    inside = (local[:, 2] > 0) & ((pixels >= 0) & (pixels < (width, height))).all(1)
    x, y = np.where(inside[:, None], pixels, 0).astype(np.int64).T
    depth, valid = sequence.read(s, "depth"), sequence.read(s, "valid")
    assert depth is not None
    assert valid is not None
    return np.log(np.maximum(depth[y, x], 1e-9) / z), inside & valid[y, x]
