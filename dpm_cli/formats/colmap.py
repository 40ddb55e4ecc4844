"""COLMAP's text model: `cameras.txt`, `images.txt`, `points3D.txt`.

Poses are world-to-camera with Hamilton quaternions, real part first. COLMAP's pixel (0, 0) is the corner of the first
pixel, ours is its centre, so principal points move by half a pixel. Every image has two lines, the second (its 2D
points) empty. Format: COLMAP doc/format.rst.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path
from dpm_cli.formats.ply import PointCloud

_HALF_PIXEL = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Pinhole cameras, one an image, and points; in dpm's conventions."""

    names: list[str]
    """File name of each image."""
    size: tuple[int, int]
    """(height, width)."""
    intrinsics: np.ndarray
    """(T, 3, 3), pixel centres at integers."""
    cam2world: np.ndarray
    """(T, 4, 4)."""
    cloud: PointCloud


def write_colmap(folder: Path, model: ColmapModel) -> None:
    """Write the three text files into `folder`, each atomically."""
    height, width = model.size
    cameras, images = [], []
    world2cam = np.linalg.inv(model.cam2world)
    quaternions = Rotation.from_matrix(world2cam[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    for t, name in enumerate(model.names):
        K = _HALF_PIXEL @ model.intrinsics[t]
        parameters = _numbers((K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        cameras.append(f"{t + 1} PINHOLE {width} {height} {parameters}")
        pose = _numbers((*quaternions[t], *world2cam[t, :3, 3]))
        images.append(f"{t + 1} {pose} {t + 1} {name}\n")
    points = [
        f"{i + 1} {_numbers(xyz)} {r} {g} {b} 0"
        for i, (xyz, (r, g, b)) in enumerate(
            zip(model.cloud.points.tolist(), model.cloud.colors.tolist(), strict=True)
        )
    ]
    _write_lines(folder / "cameras.txt", "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", cameras)
    _write_lines(
        folder / "images.txt", "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", images
    )
    _write_lines(folder / "points3D.txt", "POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]", points)


def _numbers(values) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _write_lines(path: Path, header: str, lines: list[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join((f"# {header}", *lines)) + "\n", encoding="utf-8")


def read_colmap(folder: Path) -> ColmapModel:
    """Read a text model whose images all have one size and their own PINHOLE camera.

    Raises:
        InputError: a file is missing, or a camera is not PINHOLE.
    """
    cameras = {row[0]: row for row in _read_lines(folder / "cameras.txt")}
    if any(row[1] != "PINHOLE" for row in cameras.values()):
        raise InputError(f"{folder}/cameras.txt: only PINHOLE cameras are read")
    images = [row for row in _read_lines(folder / "images.txt") if len(row) == 10]
    world2cam = np.tile(np.eye(4), (len(images), 1, 1))
    intrinsics = np.tile(np.eye(3), (len(images), 1, 1))
    for t, row in enumerate(images):
        pose = np.array(row[1:8], np.float64)
        world2cam[t, :3, :3] = Rotation.from_quat(pose[[1, 2, 3, 0]]).as_matrix()
        world2cam[t, :3, 3] = pose[4:]
        fx, fy, cx, cy = (float(value) for value in cameras[row[8]][4:8])
        intrinsics[t] = np.linalg.inv(_HALF_PIXEL) @ [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    first = next(iter(cameras.values()))
    rows = _read_lines(folder / "points3D.txt")
    values = np.array([row[1:7] for row in rows], np.float64).reshape(-1, 6)
    cloud = PointCloud(values[:, :3].astype(np.float32), values[:, 3:].astype(np.uint8))
    return ColmapModel(
        names=[row[9] for row in images],
        size=(int(first[3]), int(first[2])),
        intrinsics=intrinsics,
        cam2world=np.linalg.inv(world2cam),
        cloud=cloud,
    )


def _read_lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return [line.split() for line in lines if line and not line.startswith("#")]
