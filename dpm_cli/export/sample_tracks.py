"""A few hundred paths of points that show how a clip moves, for viewers."""

from dataclasses import dataclass

import numpy as np

from dpm_cli.export.spread import spread
from dpm_cli.sequence import Sequence4D
from dpm_cli.tracking import track

_STARTS = 3
"""Frames in which points are chosen, spread through the clip: what enters late has paths too."""
_MOVING_SHARE = 0.8
"""Of the points, that are chosen on what moves by itself."""


@dataclass(frozen=True, eq=False)
class SampleTracks:
    """N points through T frames."""

    points: np.ndarray
    """(T, N, 3) float32 world."""
    visible: np.ndarray
    """(T, N) bool."""
    colors: np.ndarray
    """(N, 3) uint8, of the pixel in which each was chosen."""


def sample_tracks(sequence: Sequence4D, count: int, *, min_confidence: float) -> SampleTracks:
    """About `count` paths; fewer where frames have less to choose from, none where no camera is registered."""
    usable = np.flatnonzero(sequence.camera_ok)
    starts = [int(usable[n]) for n in spread(len(usable), _STARTS)] if len(usable) else []
    found = []
    for t in starts:
        frame = sequence.frame(t)
        usable_px = frame.valid & (frame.confidence >= min_confidence)
        moving = frame.dynamic > sequence.motion_threshold
        share = -(-count // len(starts))
        most = round(_MOVING_SHARE * share)
        picked = _spread(usable_px & moving, most)
        still = _spread(usable_px & ~moving, share - len(picked))
        at = np.concatenate((picked, still))
        if len(at):
            paths = track(sequence, t, at[:, ::-1].astype(np.float64))
            found.append((paths.points, paths.visible, frame.image[at[:, 0], at[:, 1]]))
    if not found:
        nothing = np.zeros((len(sequence), 0, 3), np.float32)
        return SampleTracks(nothing, nothing[..., 0] > 0, np.zeros((0, 3), np.uint8))
    points, visible, colors = zip(*found, strict=True)
    return SampleTracks(
        np.concatenate(points, 1).astype(np.float32),
        np.concatenate(visible, 1),
        np.concatenate(colors),
    )


def _spread(mask: np.ndarray, count: int) -> np.ndarray:
    """At most `count` pixels (N, 2), row and column, of a mask, on a grid as even as the mask allows."""
    if count < 1 or not mask.any():
        return np.zeros((0, 2), np.int64)
    stride = max(1, int(np.sqrt(mask.sum() / count)))
    rows, columns = np.nonzero(mask[stride // 2 :: stride, stride // 2 :: stride])
    at = np.stack((rows, columns), -1) * stride + stride // 2
    return at[np.linspace(0, len(at) - 1, min(count, len(at))).round().astype(int)]
