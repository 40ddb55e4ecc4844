"""From regions of frames to objects of the clip: identities, rigid poses, sizes, colours.

The pose of an object is that of a frame fixed to it, `world_from_object`. In the first frame in which the object is
seen its axes are the world's and its origin is the middle of its points; from then on it moves by the rigid motions
that fit the scene flow of its pixels best, forwards from the one frame and backwards from the other.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.procrustes import fit_robust
from dpm_cli.objects.link import matched, overlap
from dpm_cli.objects.regions import moving_regions
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import FrameResult, Sequence4D

_FIT_POINTS = 4_000
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
    motions: dict[int, "_Motion"] = field(default_factory=dict)
    """Frame: motion to the next one."""


@dataclass(frozen=True, eq=False)
class _Motion:
    """How an object goes from one frame to the next."""

    rigid: np.ndarray
    """(4, 4) in the world."""
    residual: float
    """Median distance of points from it."""
    moved: float
    """Median way of points."""


@dataclass(frozen=True, eq=False)
class _View:
    """A frame and its world points (H, W, 3)."""

    frame: FrameResult
    points: np.ndarray


def find_objects(sequence: Sequence4D, *, reporter: Reporter | None = None) -> Objects:
    """Find what moves by itself in registered frames and follow it; cuts end objects."""
    count = len(sequence)
    regions = np.zeros((count, *sequence.size), np.uint16)
    running: dict[int, _Track] = {}
    tracks: list[_Track] = []
    before: _View | None = None
    with (reporter or SilentReporter()).task("objects", count) as advance:
        for t in range(count):
            frame = sequence.frame(t)
            now = _View(frame, frame.points(sequence.cam2world[t], sequence.intrinsics[t]))
            if sequence.camera_ok[t]:
                regions[t] = moving_regions(frame, sequence.motion_threshold)
            linked = t > 0 and sequence.shot[t] == sequence.shot[t - 1]
            found: dict[int, _Track] = {}
            if linked and before is not None and running and regions[t].any():
                shares = overlap(regions[t - 1].astype(int), regions[t].astype(int), before.frame)
                for n, m in matched(shares):
                    found[m + 1] = track = running[n + 1]
                    masks = regions[t - 1] == n + 1, regions[t] == m + 1
                    motion = _motion((before, now), masks)
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


def _motion(views: tuple[_View, _View], masks: tuple[np.ndarray, np.ndarray]) -> _Motion | None:
    """Of an object between two frames, from its pixels in both; None where no rigid motion is told by them."""
    starts, ends, weights = [], [], []
    for step, (view, mask) in enumerate(zip(views, masks, strict=True)):
        flow = view.frame.scene_flow_bwd if step else view.frame.scene_flow_fwd
        assert flow is not None
        points = view.points[mask]
        other = points + flow[mask]
        starts.append(other if step else points)
        ends.append(points if step else other)
        weights.append(view.frame.confidence[mask])
    every = max(1, sum(map(len, starts)) // _FIT_POINTS)
    start, end, weight = (
        torch.from_numpy(np.concatenate(parts)[::every].astype(np.float64))
        for parts in (starts, ends, weights)
    )
    try:
        fit = fit_robust(start, end, weight**2)
    except DegenerateGeometryError:
        return None
    moved = (end - start).norm(dim=1).median()
    return _Motion(fit.target_from_source.numpy(), float(fit.residual.median()), float(moved))


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
