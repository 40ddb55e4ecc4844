"""Point clouds of a sequence: of a frame, of the static scene, of everything with time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError
from dpm_cli.export.agreement import agreement
from dpm_cli.export.open3d_clouds import estimate_normals, standing_alone, voxel_average
from dpm_cli.formats.ply import PointCloud
from dpm_cli.sequence import FrameResult, Sequence4D
from dpm_cli.version import __version__

CLIP_POINTS = 1_000_000
"""Points of a cloud of the whole clip where the user names no number."""


def comments(sequence: Sequence4D, *extra: str) -> list[str]:
    """Header lines that make a cloud self-describing."""
    unit = "metre" if sequence.scale == "metric" else "arbitrary"
    return [f"dpm {__version__} opencv world={sequence.world} unit={unit}", *extra]


def frame_cloud(sequence: Sequence4D, t: int, options: ExportOptions) -> PointCloud:
    """Valid points of one frame that are confident enough, thinned to `max_points`."""
    cloud = _frame_points(sequence, t, options, moving=True)
    return _finished(_thin(cloud, options.max_points, seed=t), options)


def moving_cloud(sequence: Sequence4D, t: int, options: ExportOptions) -> PointCloud:
    """Those of one frame's confident points that move by themselves, thinned to `max_points`.

    None where the camera is not registered: nobody knows where they are in the world.
    """
    cloud = _frame_points(sequence, t, options, moving=True)
    assert cloud.dynamic is not None
    shown = (cloud.dynamic > 0) & sequence.camera_ok[t]
    return _finished(_thin(cloud.take(shown), options.max_points, seed=t), options)


def static_cloud(sequence: Sequence4D, options: ExportOptions) -> PointCloud:
    """Points of all registered frames that do not move by themselves.

    Raises:
        InputError: Open3D is asked for (`voxel_size`, `remove_outliers`, `normals`) and cannot be imported.
    """
    cloud = _gather(sequence, options, lambda t: _frame_points(sequence, t, options, moving=False))
    if options.voxel_size is not None:
        cloud = voxel_average(cloud, options.voxel_size)
    return _finished(cloud, options)


def timed_cloud(sequence: Sequence4D, options: ExportOptions) -> PointCloud:
    """Points of all registered frames, each with its time in [0, 1] from the first frame to the last."""
    times = relative_times(sequence)

    def points_of(t: int) -> PointCloud:
        return with_time(_frame_points(sequence, t, options, moving=True), times[t])

    return _finished(_gather(sequence, options, points_of), options)


def relative_times(sequence: Sequence4D) -> np.ndarray:
    """(T,) time stamps scaled to [0, 1]."""
    times = sequence.timestamps - sequence.timestamps[0]
    return times / times[-1] if times[-1] > 0 else times


def with_time(cloud: PointCloud, time: float) -> PointCloud:
    """The cloud with one time for all its points."""
    return replace(cloud, time=np.full(len(cloud), time, np.float32))


def with_some_normals(cloud: PointCloud) -> PointCloud:
    """The cloud with its normals, or with normals of length zero: unknown, but present."""
    return (
        cloud if cloud.normals is not None else replace(cloud, normals=np.zeros_like(cloud.points))
    )


def kept_pixels(
    sequence: Sequence4D, t: int, frame: FrameResult, options: ExportOptions, *, moving: bool
) -> np.ndarray:
    """(H, W) bool: valid and confident pixels of frame `t`, the still ones confirmed by `min_views` others.

    Without `moving` what moves by itself is left out.
    """
    mask = frame.dynamic > sequence.motion_threshold
    keep = frame.valid & (frame.confidence >= options.min_confidence)
    if not moving:
        keep &= ~mask
    if options.min_views:
        keep &= mask | _confirmed(sequence, t, options)
    return keep


def _confirmed(sequence: Sequence4D, t: int, options: ExportOptions) -> np.ndarray:
    """(H, W) bool: at least `min_views` others (or all, if fewer) confirm the point, and more than contradict it."""
    said = agreement(sequence, t)
    if not said.asked:
        return np.ones(sequence.size, bool)
    enough = said.confirmed >= min(options.min_views, said.asked)
    return enough & (said.confirmed > said.contradicted)


def _finished(cloud: PointCloud, options: ExportOptions) -> PointCloud:
    return estimate_normals(cloud) if options.normals else cloud


def _frame_points(
    sequence: Sequence4D, t: int, options: ExportOptions, *, moving: bool
) -> PointCloud:
    """Kept points of a frame; where normals are wanted they hold the direction to the camera until these are known."""
    frame = sequence.frame(t)
    keep = kept_pixels(sequence, t, frame, options, moving=moving)
    eye = sequence.cam2world[t, :3, 3]
    points = frame.points(sequence.cam2world[t], sequence.intrinsics[t])[keep]
    cloud = PointCloud(
        points=points,
        colors=frame.image[keep],
        confidence=frame.confidence[keep],
        dynamic=(frame.dynamic[keep] > sequence.motion_threshold).astype(np.uint8) * 255,
        normals=(eye - points).astype(np.float32) if options.normals else None,
        motion=_motion_of(frame)[keep] if moving else None,
    )
    return cloud.take(~standing_alone(points, eye)) if options.remove_outliers else cloud


def _motion_of(frame: FrameResult) -> np.ndarray:
    """Scene flow (H, W, 3) to the next frame; on the last one that from the frame before, 0 for a single frame."""
    if frame.scene_flow_fwd is not None:
        return frame.scene_flow_fwd
    if frame.scene_flow_bwd is not None:
        return -frame.scene_flow_bwd
    return np.zeros((*frame.depth.shape, 3), np.float32)


def _gather(
    sequence: Sequence4D, options: ExportOptions, points_of: Callable[[int], PointCloud]
) -> PointCloud:
    """Clouds of all registered frames in one, each with an equal share of the points."""
    used = np.flatnonzero(sequence.camera_ok)
    share = -(-(options.max_points or CLIP_POINTS) // max(len(used), 1))
    clouds = []
    with options.reporter.task("points", len(used)) as advance:
        for t in used:
            clouds.append(_thin(points_of(int(t)), share, seed=int(t)))
            advance()
    if not clouds:
        raise InputError(
            "no camera of this run was registered: only clouds of single frames can be made"
        )
    return _thin(_concatenate(clouds), options.max_points, seed=0)


def _concatenate(clouds: list[PointCloud]) -> PointCloud:
    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(cloud, name) for cloud in clouds]
        return None if parts[0] is None else np.concatenate(parts)

    names = ("points", "colors", "confidence", "dynamic", "normals", "time", "motion")
    return PointCloud(**{name: joined(name) for name in names})  # pyright: ignore


def _thin(cloud: PointCloud, count: int | None, seed: int) -> PointCloud:
    """At most `count` points, drawn evenly and always the same, in their order."""
    if count is None or len(cloud) <= count:
        return cloud
    chosen = np.random.default_rng(seed).choice(len(cloud), count, replace=False)
    return cloud.take(np.sort(chosen))
