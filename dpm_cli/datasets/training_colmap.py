"""COLMAP text models: cameras.txt and images.txt, as ScanNet++ and MegaDepth publish them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError

_PINHOLES = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4}
"""Camera models that are read, and their number of parameters."""


@dataclass(frozen=True, eq=False)
class ColmapImage:
    """One registered image."""

    name: str
    size: tuple[int, int]
    """(height, width) of the camera."""
    K: np.ndarray
    """(3, 3) float64, pixel centres at integers (COLMAP puts them at halves)."""
    radial: float
    """First radial distortion coefficient; 0 for pinhole models."""
    cam2world: np.ndarray
    """(4, 4) float64."""


def read_colmap(folder: Path) -> list[ColmapImage]:
    """Images of a text model, by name.

    Raises:
        InputError: a file is missing, or a camera model is not a pinhole one.
    """
    cameras = {row[0]: _camera(row, folder) for row in _rows(folder / "cameras.txt")}
    images = []
    # Every second line lists an image's 2D points and is not needed; it may be empty.
    for row in _rows(folder / "images.txt", every_second=True):
        if row[8] not in cameras:
            raise InputError(f"{folder / 'images.txt'}: camera {row[8]} is not in cameras.txt")
        w, x, y, z, *translation = (float(v) for v in row[1:8])
        world2cam = np.eye(4)
        world2cam[:3, :3] = Rotation.from_quat((x, y, z, w)).as_matrix()
        world2cam[:3, 3] = translation
        size, K, radial = cameras[row[8]]
        images.append(ColmapImage(" ".join(row[9:]), size, K, radial, np.linalg.inv(world2cam)))
    return sorted(images, key=lambda i: i.name)


def _rows(path: Path, every_second: bool = False) -> list[list[str]]:
    if not path.is_file():
        raise InputError(f"{path} is missing: a COLMAP text model holds cameras.txt and images.txt")
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    if every_second:
        return [line.split() for line in lines[::2] if line.strip()]
    return [line.split() for line in lines if line.strip()]


def _camera(row: list[str], folder: Path) -> tuple[tuple[int, int], np.ndarray, float]:
    model, width, height = row[1], int(row[2]), int(row[3])
    values = [float(v) for v in row[4:]]
    if len(values) != _PINHOLES.get(model, -1):
        raise InputError(
            f"{folder / 'cameras.txt'}: camera model {model} is not one of {', '.join(_PINHOLES)}"
        )
    radial = values.pop() if model == "SIMPLE_RADIAL" else 0.0
    fx, fy, cx, cy = values if model == "PINHOLE" else (values[0], *values)
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    return (height, width), K, radial
