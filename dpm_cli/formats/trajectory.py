"""Camera paths as text: TUM (`t tx ty tz qx qy qz qw`) and KITTI (twelve numbers, rows of a 3x4 matrix).

Both hold camera-to-world poses. TUM's quaternion has its real part last; a well-known tool writes it first under the
same name, which evo and other readers silently misread.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses over time."""

    timestamps: np.ndarray
    """(T,) float64 seconds; the row number where the format has no times."""
    cam2world: np.ndarray
    """(T, 4, 4) float64."""


def write_tum(path: Path, trajectory: Trajectory, comment: str = "") -> None:
    """Write atomically; `comment` becomes a `#` line above the column names."""
    quaternions = Rotation.from_matrix(trajectory.cam2world[:, :3, :3]).as_quat()
    rows = np.hstack((trajectory.timestamps[:, None], trajectory.cam2world[:, :3, 3], quaternions))
    header = f"{comment}\n" if comment else ""
    with atomic_path(path) as temporary:
        np.savetxt(temporary, rows, fmt="%.9f", header=f"{header}timestamp tx ty tz qx qy qz qw")


@reads("a camera path")
def read_tum(path: Path) -> Trajectory:
    """Read a TUM trajectory.

    Raises:
        InputError: missing or not eight numbers a line.
    """
    rows = _read_rows(path, 8)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, 3] = rows[:, 1:4]
    poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
    return Trajectory(rows[:, 0], poses)


def write_kitti_poses(path: Path, cam2world: np.ndarray) -> None:
    """Write (T, 4, 4) poses atomically, one line a frame."""
    with atomic_path(path) as temporary:
        np.savetxt(temporary, cam2world[:, :3].reshape(-1, 12), fmt="%.12e")


def read_kitti_poses(path: Path) -> Trajectory:
    """Read KITTI poses.

    Raises:
        InputError: missing or not twelve numbers a line.
    """
    rows = _read_rows(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    return Trajectory(np.arange(len(rows), dtype=np.float64), poses)


@reads("a camera path", UserWarning)
def _read_rows(path: Path, columns: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of an empty file
        rows = np.loadtxt(path, ndmin=2)
    if not np.isfinite(rows).all():
        raise InputError(f"{path} holds numbers that are not finite")
    if rows.shape[1] != columns:
        raise InputError(f"{path} has {rows.shape[1]} numbers a line, not {columns}")
    return rows
