"""From regions of frames to objects of the clip: identities, rigid poses, sizes, colours.

The pose of an object is that of a frame fixed to it, `world_from_object`. In the first frame in which the object is
seen its axes are the world's and its origin is the middle of its points; from then on it moves by the rigid motions
that take its pixels to where they land in the next frame and back (`dpm_cli/objects/motion.py`).
"""

from dataclasses import dataclass, field

import numpy as np

from dpm_cli.objects.link import matched, overlap
from dpm_cli.objects.motion import ObjectMotion, View, object_motion
from dpm_cli.objects.regions import moving_regions
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import Sequence4D

_SHORTEST = 3
"""Frames that an object must be seen in; what flickers is no object."""


@dataclass(frozen=True, eq=False)
class Objects:
    """N objects through the T frames of a sequence, in the order in which they appear."""

    labels: np.ndarray
    """(T, H, W) uint16: 1 to N, 0 where no object is; working size."""
    world_from_object: np.ndarray
    """(T, N, 4, 4) float64, rigid; that of the nearest frame that has one where the object is not seen."""
    pixels: np.ndarray
    """(T, N) int64, how many each has; none where it is not seen."""
    residual: np.ndarray
    """(T, N) float64, median distance of its points from the rigid motion to the next frame, world units; 0 = none."""
    moved: np.ndarray
    """(T, N) float64, median way of its points to the next frame, world units; 0 = none."""
    size: np.ndarray
    """(N, 3) float64 extent along the axes of its own frame, of the inner 90 % of its points, world units."""
    colors: np.ndarray
    """(N, 3) uint8, the median of its pixels."""

    @property
    def seen(self) -> np.ndarray:
        """(T, N) bool."""
        return self.pixels > 0

    @property
    def largest(self) -> np.ndarray:
        """(N,) int64, the frame in which each has the most pixels."""
        return self.pixels.argmax(0)


@dataclass(eq=False)
class _Track:
    """An object while it is followed."""

    regions: dict[int, int] = field(default_factory=dict)
    """Frame: number of the region."""
    motions: dict[int, ObjectMotion] = field(default_factory=dict)
    """Frame: motion to the next one."""


def find_objects(sequence: Sequence4D, *, reporter: Reporter | None = None) -> Objects:
    """Find what moves by itself in registered frames and follow it; cuts end objects."""
    count = len(sequence)
    regions = np.zeros((count, *sequence.size), np.uint16)
    running: dict[int, _Track] = {}
    tracks: list[_Track] = []
    before: View | None = None
    with (reporter or SilentReporter()).task("objects", count) as advance:
        for t in range(count):
            frame = sequence.frame(t)
            camera = sequence.cam2world[t], sequence.intrinsics[t]
            now = View(frame, frame.points(*camera), *camera)
            if sequence.camera_ok[t]:
                regions[t] = moving_regions(frame, sequence.motion_threshold)
            linked = t > 0 and sequence.shot[t] == sequence.shot[t - 1]
            found: dict[int, _Track] = {}
            if linked and before is not None and running and regions[t].any():
                shares = overlap(regions[t - 1].astype(int), regions[t].astype(int), before.frame)
                for n, m in matched(shares):
                    found[m + 1] = track = running[n + 1]
                    masks = regions[t - 1] == n + 1, regions[t] == m + 1
                    motion = object_motion((before, now), masks)
                    if motion is not None:
                        track.motions[t - 1] = motion
            for label in range(1, int(regions[t].max()) + 1):
                if label not in found:
                    found[label] = _Track()
                    tracks.append(found[label])
                found[label].regions[t] = label
            running, before = found, now
            advance()
    kept = [track for track in tracks if len(track.regions) >= min(_SHORTEST, count)]
    return _collect(sequence, regions, kept)


def _collect(sequence: Sequence4D, regions: np.ndarray, tracks: list[_Track]) -> Objects:
    """Objects of the tracks that are kept."""
    shape = len(sequence), len(tracks)
    number_of = np.zeros((len(sequence), int(regions.max()) + 1), np.uint16)
    residual, moved = np.zeros((2, *shape))
    for n, track in enumerate(tracks):
        for t, region in track.regions.items():
            number_of[t, region] = n + 1
        for t, motion in track.motions.items():
            residual[t, n], moved[t, n] = motion.residual, motion.moved
    pixels = np.zeros(shape, np.int64)
    for t, numbers in enumerate(number_of):
        regions[t] = numbers[regions[t]]
        pixels[t] = np.bincount(regions[t].ravel(), minlength=len(tracks) + 1)[1:]
    poses = np.tile(np.eye(4), (*shape, 1, 1))
    for n, track in enumerate(tracks):
        poses[:, n] = _poses(sequence, regions, n, track)
    size, colors = _looks(sequence, regions, poses, pixels.argmax(0))
    return Objects(regions, poses, pixels, residual, moved, size, colors)


def _poses(sequence: Sequence4D, labels: np.ndarray, n: int, track: _Track) -> np.ndarray:
    """Poses (T, 4, 4) of object `n`; a step without a fit stands still."""
    poses = np.tile(np.eye(4), (len(sequence), 1, 1))
    first, last = min(track.regions), max(track.regions)
    points = sequence.read(first, "points")
    assert points is not None
    poses[: first + 1, :3, 3] = np.median(points[labels[first] == n + 1], axis=0)
    for t in range(first, last):
        motion = track.motions.get(t)
        poses[t + 1] = poses[t] if motion is None else motion.rigid @ poses[t]
    poses[last + 1 :] = poses[last]
    return poses


def _looks(
    sequence: Sequence4D, labels: np.ndarray, poses: np.ndarray, largest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Size (N, 3) and colour (N, 3) of all objects, from the frame in which each has the most pixels."""
    size, colors = np.zeros((len(largest), 3)), np.zeros((len(largest), 3), np.uint8)
    for n, t in enumerate(largest.tolist()):
        mask, points, image = (
            labels[t] == n + 1,
            sequence.read(t, "points"),
            sequence.read(t, "image"),
        )
        assert points is not None
        assert image is not None
        own = (points[mask] - poses[t, n, :3, 3]) @ poses[t, n, :3, :3]
        size[n] = np.ptp(np.quantile(own, (0.05, 0.95), axis=0), axis=0)
        colors[n] = np.median(image[mask], axis=0)
    return size, colors
