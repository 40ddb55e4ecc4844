"""Which frames see which points of a cloud: inside the picture, at the depth that the frame has there, not moving."""

import numpy as np

from dpm_cli.formats.colmap_model import Observations
from dpm_cli.sequence import Sequence4D

_DEPTH_TOLERANCE = 0.05
"""Relative difference of depth up to which a frame sees the point and not something before it."""
_MOST = 2_000_000
"""Observations of all points together, at most; each point keeps two."""


def observations_of(
    sequence: Sequence4D, points: np.ndarray, used: np.ndarray, motion_threshold: float
) -> Observations:
    """Observations of world points (N, 3) in the frames `used` (T,), in source pixels of the picture without bars.

    `image` of the result is the row in `used`.
    """
    area, A = sequence.source_area, sequence.source_from_working
    image, point, pixels = [], [], []
    for row, t in enumerate(used):
        camera = (points - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
        z = camera[:, 2]
        at = camera @ sequence.intrinsics[t].T
        at = at[:, :2] / np.where(z > 0, z, 1)[:, None]
        seen = np.flatnonzero((z > 0) & _visible(sequence, int(t), at, z, motion_threshold))
        image.append(np.full(len(seen), row))
        point.append(seen)
        pixels.append(at[seen] * A.diagonal()[:2] + A[:2, 2] - (area.x, area.y))
    found = Observations(np.concatenate(image), np.concatenate(point), np.concatenate(pixels))
    return _thinned(found, max(2, _MOST // max(len(points), 1)))


def _visible(
    sequence: Sequence4D, t: int, at: np.ndarray, z: np.ndarray, motion_threshold: float
) -> np.ndarray:
    """(N,) bool of working pixels `at` (N, 2) at depth `z` (N,) of frame t."""
    height, width = sequence.size
    frame = sequence.frames.read(t, ("depth", "valid", "dynamic"))
    inside = np.all((at > -0.5) & (at < (width - 0.5, height - 0.5)), axis=1)
    x, y = np.where(inside[:, None], at, 0).round().astype(int).T
    near = np.abs(np.log(np.maximum(z, 1e-12) / np.maximum(frame["depth"][y, x], 1e-12)))
    still = frame["valid"][y, x] & (frame["dynamic"][y, x] <= motion_threshold)
    return inside & still & (near < _DEPTH_TOLERANCE)


def _thinned(seen: Observations, most: int) -> Observations:
    """At most `most` observations of each point, spread over its frames."""
    order = np.argsort(seen.point, kind="stable")
    count = np.bincount(seen.point)[seen.point[order]] if len(order) else order
    first = np.searchsorted(seen.point[order], seen.point[order])
    rank = np.arange(len(order)) - first
    share = np.minimum(most, count)
    kept = np.sort(order[(rank * share) // count != ((rank - 1) * share) // count])
    return Observations(seen.image[kept], seen.point[kept], seen.pixels[kept])
