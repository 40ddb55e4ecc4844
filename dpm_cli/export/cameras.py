"""Camera paths as TUM and KITTI text."""

from pathlib import Path

from dpm_cli.config import ExportOptions
from dpm_cli.export.clouds import comments
from dpm_cli.formats.trajectory import Trajectory, write_kitti_poses, write_tum
from dpm_cli.sequence import Sequence4D


def export_tum(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write registered cameras with their presentation times."""
    used = sequence.camera_ok
    left_out = int((~used).sum())
    if left_out:
        options.reporter.note(
            f"{left_out} of {len(sequence)} cameras are not registered and left out"
        )
    trajectory = Trajectory(sequence.timestamps[used], sequence.cam2world[used])
    write_tum(path, trajectory, comments(sequence, "cam2world")[0])


def export_kitti_poses(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write all cameras, one line a frame, because the format has no frame numbers."""
    unregistered = int((~sequence.camera_ok).sum())
    if unregistered:
        options.reporter.note(
            f"{unregistered} of {len(sequence)} cameras are not registered, only guessed"
        )
    write_kitti_poses(path, sequence.cam2world)
