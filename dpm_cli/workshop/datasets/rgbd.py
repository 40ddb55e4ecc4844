"""Static RGB-D sets: 7-Scenes, Redwood/Open3D samples, slambook's five frames.

7-Scenes: <scene>/seq-01/frame-000000.{color.png,depth.png,pose.txt}; millimetres, 0 and 65535 invalid, camera to world.
Its depth is the infrared camera's (focal 585) and is not registered: `read_7scenes` resamples it into the colour camera
(focal 525), leaving out the few centimetres between the two.
"""

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import files, folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_depth_png, read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth

_INFRARED, _COLOUR = 585.0, 525.0
_CENTRE = (320.0, 240.0)


def read_7scenes(root: Path) -> list[SequenceTruth]:
    """Every sequence under `root`: a scene's folder, a sequence's, or the folder of all scenes.

    Raises:
        InputError: no such folders.
    """
    candidates = [root, *folders(root), *(q for p in folders(root) for q in folders(p))]
    found = [p for p in candidates if files(p, "frame-*.pose.txt")]
    if not found:
        raise wrong_layout(
            "7scenes", root, "<scene>/seq-01/frame-000000.{color.png,depth.png,pose.txt}"
        )
    return [_seven(p, p.name if p == root else str(p.relative_to(root))) for p in found]


def _seven(root: Path, name: str) -> SequenceTruth:
    poses = files(root, "frame-*.pose.txt")
    stems = [p.name.removesuffix(".pose.txt") for p in poses]
    images = [next(iter(files(root, f"{s}.color.*")), root / f"{s}.color.png") for s in stems]
    depth = [require("7scenes", root / f"{s}.depth.png") for s in stems]
    K = np.array([[_COLOUR, 0, _CENTRE[0]], [0, _COLOUR, _CENTRE[1]], [0, 0, 1]])
    return SequenceTruth(
        dataset="7scenes",
        name=name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), _registered),
        intrinsics=np.tile(K, (len(poses), 1, 1)),
        cam2world=np.stack([np.loadtxt(p).reshape(4, 4) for p in poses]),
        static=True,
        metric=True,
        max_depth=60.0,
    )


def _registered(path: Path) -> np.ndarray:
    depth = read_depth_png(path, 0.001)
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    ratio = _INFRARED / _COLOUR
    map_x, map_y = (x - _CENTRE[0]) * ratio + _CENTRE[0], (y - _CENTRE[1]) * ratio + _CENTRE[1]
    return cv2.remap(depth, map_x, map_y, cv2.INTER_NEAREST)


def read_redwood(root: Path) -> list[SequenceTruth]:
    """color/*.jpg, depth/*.png in millimetres, trajectory.log (Redwood, Open3D's sample data).

    Raises:
        InputError: no such folder, or fewer poses than images.
    """
    images, depth = files(root / "color", "*.jpg", "*.png"), files(root / "depth", "*.png")
    if not images or len(images) != len(depth) or not (root / "trajectory.log").is_file():
        raise wrong_layout(
            "redwood", root, "color/00000.jpg, depth/00000.png (as many) and trajectory.log"
        )
    lines = (root / "trajectory.log").read_text().split("\n")
    rows = [line.split() for i, line in enumerate(lines) if i % 5 and line.strip()]
    poses = np.array(rows, np.float64).reshape(-1, 4, 4)
    if len(poses) < len(images):
        raise InputError(f"{root}/trajectory.log: {len(poses)} poses for {len(images)} images")
    return [_plain("redwood", root, images, depth, poses, (525.0, 525.0, 319.5, 239.5))]


def read_slambook(root: Path) -> list[SequenceTruth]:
    """color/1.png, depth/1.pgm in millimetres, pose.txt with tx ty tz qx qy qz qw per line.

    Raises:
        InputError: no such folder.
    """
    images, depth = files(root / "color", "*.png"), files(root / "depth", "*.pgm")
    if not images or len(images) != len(depth) or not (root / "pose.txt").is_file():
        raise wrong_layout("slambook", root, "color/1.png, depth/1.pgm (as many) and pose.txt")
    rows = np.loadtxt(root / "pose.txt").reshape(-1, 7)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(rows[:, 3:]).as_matrix()
    poses[:, :3, 3] = rows[:, :3]
    return [_plain("slambook", root, images, depth, poses, (518.0, 519.0, 325.5, 253.5))]


def _plain(
    dataset: str,
    root: Path,
    images: list[Path],
    depth: list[Path],
    poses: np.ndarray,
    camera: tuple[float, float, float, float],
) -> SequenceTruth:
    K = np.array([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
    return SequenceTruth(
        dataset=dataset,
        name=root.name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), _millimetres),
        intrinsics=np.tile(K, (len(images), 1, 1)),
        cam2world=poses[: len(images)],
        static=True,
        metric=True,
    )


def _millimetres(path: Path) -> np.ndarray:
    return read_depth_png(path, 0.001)
