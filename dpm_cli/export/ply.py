"""PLY export: a file a frame, or one of the whole clip."""

from pathlib import Path

from dpm_cli.ahead import WRITERS, in_order
from dpm_cli.config import ExportOptions
from dpm_cli.export.clouds import (
    comments,
    frame_cloud,
    relative_times,
    static_cloud,
    timed_cloud,
    with_some_normals,
    with_time,
)
from dpm_cli.formats.ply import PointCloud, write_ply
from dpm_cli.sequence import Sequence4D


def export_ply(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/frame_000000.ply ... or the one file `path`.

    One file is the static scene for plain and 3dgs, and all points with their time for 4dgs.
    """
    if options.one_cloud_a_frame:
        write_frame_clouds(sequence, path, options)
    elif options.profile == "4dgs":
        text = comments(sequence, "time 0 = first frame, 1 = last frame")
        write_ply(path, with_some_normals(timed_cloud(sequence, options)), text)
    else:
        cloud = static_cloud(sequence, options)
        write_ply(
            path, _profiled(cloud, options), comments(sequence, "static points of all frames")
        )


def write_frame_clouds(sequence: Sequence4D, folder: Path, options: ExportOptions) -> None:
    """Write one cloud a frame into `folder`."""
    times = relative_times(sequence)

    def write(t: int) -> None:
        cloud = _profiled(frame_cloud(sequence, t, options), options, float(times[t]))
        text = comments(sequence, f"frame {t} time_s {sequence.timestamps[t]:.6f}")
        write_ply(folder / f"frame_{t:06d}.ply", cloud, text)

    with options.reporter.task("points", len(sequence)) as advance:
        for _ in in_order(write, range(len(sequence)), WRITERS):
            advance()


def _profiled(cloud: PointCloud, options: ExportOptions, time: float = 0.0) -> PointCloud:
    """The cloud with what the profile adds."""
    if options.profile == "plain":
        return cloud
    cloud = with_some_normals(cloud)
    return with_time(cloud, time) if options.profile == "4dgs" else cloud
