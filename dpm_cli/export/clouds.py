"""Point clouds of a sequence: of a frame, of the static scene, of everything with time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpm_cli import __version__
from dpm_cli.errors import InputError
from dpm_cli.export.options import ExportOptions
from dpm_cli.formats.ply import PointCloud
from dpm_cli.sequence import Sequence4D

CLIP_POINTS = 1_000_000
"""Points of a cloud of the whole clip where the user names no number."""


def comments(sequence: Sequence4D, *extra: str) -> list[str]:
    """Header lines that make a cloud self-describing."""
    unit = "metre" if sequence.scale == "metric" else "arbitrary"
    return [f"dpm {__version__} opencv world={sequence.world} unit={unit}", *extra]


def frame_cloud(sequence: Sequence4D, t: int, options: ExportOptions) -> PointCloud:
    """Valid points of one frame that are confident enough, thinned to `max_points`."""
    return _thin(_frame_points(sequence, t, options, moving=True), options.max_points, seed=t)


def moving_cloud(sequence: Sequence4D, t: int, options: ExportOptions) -> PointCloud:
    """Those of one frame's confident points that move by themselves, thinned to `max_points`.

    None where the camera is not registered: nobody knows where they are in the world.
    """
    cloud = _frame_points(sequence, t, options, moving=True)
    assert cloud.dynamic is not None
    shown = (cloud.dynamic > 0) & sequence.camera_ok[t]
    return _thin(cloud.take(shown), options.max_points, seed=t)


def static_cloud(sequence: Sequence4D, options: ExportOptions) -> PointCloud:
    """Points of all registered frames that do not move by themselves.

    Raises:
        InputError: Open3D is asked for (`voxel_size`) and cannot be imported.
    """
    cloud = _gather(sequence, options, lambda t: _frame_points(sequence, t, options, moving=False))
    return cloud if options.voxel_size is None else voxel_average(cloud, options.voxel_size)


def timed_cloud(sequence: Sequence4D, options: ExportOptions) -> PointCloud:
    """Points of all registered frames, each with its time in [0, 1] from the first frame to the last."""
    times = relative_times(sequence)

    def points_of(t: int) -> PointCloud:
        return with_time(_frame_points(sequence, t, options, moving=True), times[t])

    return _gather(sequence, options, points_of)


def relative_times(sequence: Sequence4D) -> np.ndarray:
    """(T,) time stamps scaled to [0, 1]."""
    times = sequence.timestamps - sequence.timestamps[0]
    return times / times[-1] if times[-1] > 0 else times


def with_time(cloud: PointCloud, time: float) -> PointCloud:
    """The cloud with one time for all its points."""
    return replace(cloud, time=np.full(len(cloud), time, np.float32))


def with_zero_normals(cloud: PointCloud) -> PointCloud:
    """The cloud with normals of length zero: unknown, but present."""
    return replace(cloud, normals=np.zeros_like(cloud.points))


def _frame_points(
    sequence: Sequence4D, t: int, options: ExportOptions, *, moving: bool
) -> PointCloud:
    frame = sequence.frame(t)
    mask = frame.dynamic > sequence.motion_threshold
    keep = frame.valid & (frame.confidence >= options.min_confidence)
    if not moving:
        keep &= ~mask
    return PointCloud(
        points=frame.points(sequence.cam2world[t], sequence.intrinsics[t])[keep],
        colors=frame.image[keep],
        confidence=frame.confidence[keep],
        dynamic=mask[keep].astype(np.uint8) * 255,
    )


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

    names = ("points", "colors", "confidence", "dynamic", "normals", "time")
    return PointCloud(**{name: joined(name) for name in names})  # pyright: ignore


def _thin(cloud: PointCloud, count: int | None, seed: int) -> PointCloud:
    """At most `count` points, drawn evenly and always the same, in their order."""
    if count is None or len(cloud) <= count:
        return cloud
    chosen = np.random.default_rng(seed).choice(len(cloud), count, replace=False)
    return cloud.take(np.sort(chosen))


def voxel_average(cloud: PointCloud, voxel_size: float) -> PointCloud:
    """One mean point a voxel: position, colour and confidence are averaged.

    Raises:
        InputError: Open3D cannot be imported here.
    """
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:
        raise InputError(
            f"Open3D cannot be imported ({error}): export without --voxel-size, or see dpm doctor"
        ) from error
    assert cloud.confidence is not None
    tensors = o3d.t.geometry.PointCloud(o3d.core.Tensor(cloud.points))
    tensors.point["colors"] = o3d.core.Tensor(cloud.colors.astype(np.float32))
    tensors.point["confidence"] = o3d.core.Tensor(cloud.confidence[:, None])
    small = tensors.voxel_down_sample(voxel_size)
    return PointCloud(
        points=small.point["positions"].numpy(),
        colors=np.rint(small.point["colors"].numpy()).astype(np.uint8),
        confidence=small.point["confidence"].numpy()[:, 0],
        dynamic=np.zeros(len(small.point["positions"]), np.uint8),
    )
