"""TUM RGB-D and Bonn RGB-D Dynamic: rgb/, depth/, rgb.txt, depth.txt, groundtruth.txt.

Lists are `timestamp file` and `timestamp tx ty tz qx qy qz qw`; entries are joined by the nearest time within 20 ms.
Depth is 16 bit, 5000 counts a metre, registered to colour; poses are camera to world.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_depth_png, read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth

LAYOUT = "<sequence>/{rgb.txt,depth.txt,groundtruth.txt,rgb/,depth/}"
_JOIN_SECONDS = 0.02
_TUM_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
_DEFAULT_CAMERA = (525.0, 525.0, 319.5, 239.5)
_BONN_CAMERA = (542.822841, 542.57687, 315.593520, 237.756098)
BONN_SEQUENCES = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
"""The five sequences of the video depth protocol (MonST3R's)."""


def read_tum(root: Path) -> list[SequenceTruth]:
    """TUM RGB-D; the pose protocol's 90 frames at stride 3.

    Raises:
        InputError: no such folders.
    """
    return [
        _sequence("tum", p, _tum_camera(p.name), slice(0, 270, 3)) for p in _sequences("tum", root)
    ]


def read_bonn(root: Path) -> list[SequenceTruth]:
    """Bonn RGB-D Dynamic; the video depth protocol's frames 30 to 140 where a sequence is that long.

    Raises:
        InputError: no such folders.
    """
    return [_sequence("bonn", p, _BONN_CAMERA, slice(30, 140)) for p in _sequences("bonn", root)]


def _sequences(dataset: str, root: Path) -> list[Path]:
    found = [p for p in (root, *folders(root)) if (p / "rgb.txt").is_file()]
    if not found:
        raise wrong_layout(dataset, root, LAYOUT)
    return found


def _sequence(dataset: str, root: Path, camera: tuple[float, ...], subset: slice) -> SequenceTruth:
    colour, depth, poses = (
        _table(require(dataset, root / f"{name}.txt")) for name in ("rgb", "depth", "groundtruth")
    )
    times = np.array([float(row[0]) for row in colour])
    depth_at, pose_at = (_nearest(times, [float(r[0]) for r in rows]) for rows in (depth, poses))
    joined = np.flatnonzero((depth_at >= 0) & (pose_at >= 0))
    if not joined.size:
        raise InputError(f"{root}: no colour image has depth and a pose within {_JOIN_SECONDS} s")
    chosen = joined[subset] if len(joined) > subset.start else joined
    K = np.array([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1.0]])
    return SequenceTruth(
        dataset=dataset,
        name=root.name,
        images=Lazy(tuple(root / colour[i][1] for i in chosen), read_rgb),
        depth=Lazy(tuple(root / depth[depth_at[i]][1] for i in chosen), _depth),
        intrinsics=np.tile(K, (len(chosen), 1, 1)),
        cam2world=_poses(np.array([poses[pose_at[i]][1:8] for i in chosen], np.float64)),
        timestamps=times[chosen],
        metric=True,
        max_depth=70.0,
    )


def _depth(path: Path) -> np.ndarray:
    return read_depth_png(path, 1 / 5000)


def _tum_camera(name: str) -> tuple[float, ...]:
    return next((camera for key, camera in _TUM_CAMERAS.items() if key in name), _DEFAULT_CAMERA)


def _table(path: Path) -> list[list[str]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [row for row in rows if row and not row[0].startswith("#")]


def _nearest(times: np.ndarray, others: list[float]) -> np.ndarray:
    """Index of the nearest of `others` for each time, -1 where none is near enough."""
    sorted_others = np.asarray(others)
    right = np.clip(np.searchsorted(sorted_others, times), 1, max(len(others) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(others) - 1)
    nearer_left = np.abs(sorted_others[left] - times) <= np.abs(sorted_others[right] - times)
    best = np.where(nearer_left, left, right)
    return np.where(np.abs(sorted_others[best] - times) <= _JOIN_SECONDS, best, -1)


def _poses(rows: np.ndarray) -> np.ndarray:
    out = np.tile(np.eye(4), (len(rows), 1, 1))
    out[:, :3, :3] = Rotation.from_quat(rows[:, 3:7]).as_matrix()
    out[:, :3, 3] = rows[:, :3]
    return out
