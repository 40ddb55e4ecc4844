"""COLMAP text models: cameras.txt and images.txt, as ScanNet++ and MegaDepth publish them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
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
    points: np.ndarray
    """(M,) int64 numbers of the 3D points that it sees."""


def read_colmap(folder: Path) -> list[ColmapImage]:
    """Images of a text model, by name.

    Raises:
        InputError: a file is missing, or a camera model is not a pinhole one.
    """
    cameras = {row[0]: _camera(row, folder) for row in _rows(folder / "cameras.txt")}
    images = []
    for row, seen in _image_rows(folder / "images.txt"):
        if row[8] not in cameras:
            raise InputError(f"{folder / 'images.txt'}: camera {row[8]} is not in cameras.txt")
        w, x, y, z, *translation = (float(v) for v in row[1:8])
        world2cam = np.eye(4)
        world2cam[:3, :3] = Rotation.from_quat((x, y, z, w)).as_matrix()
        world2cam[:3, 3] = translation
        size, K, radial = cameras[row[8]]
        cam2world = np.linalg.inv(world2cam)
        images.append(ColmapImage(" ".join(row[9:]), size, K, radial, cam2world, seen))
    return sorted(images, key=lambda i: i.name)


def covisible(images: Sequence[ColmapImage], least_share: float = 0.15) -> np.ndarray | None:
    """Pairs (P, 2) int64 of images that share this part of the points of each; None if the model has no points."""
    rows = np.repeat(np.arange(len(images)), [len(i.points) for i in images])
    if not len(rows):
        return None
    _, columns = np.unique(np.concatenate([i.points for i in images]), return_inverse=True)
    sees = csr_array((np.ones(len(rows), np.int32), (rows, columns)))
    sees.data[:] = 1  # a point may be listed twice
    shared = (sees @ sees.T).sorted_indices().tocoo()
    count = sees.sum(1)
    first, second = shared.coords
    enough = shared.data >= least_share * np.maximum(count[first], count[second])
    return np.stack((first, second), 1)[enough & (first < second)].astype(np.int64)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path} is missing: a COLMAP text model holds cameras.txt and images.txt")
    return [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]


def _rows(path: Path) -> list[list[str]]:
    return [line.split() for line in _lines(path) if line.strip()]


def _image_rows(path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """Each image's words, and the 3D points of the line that follows: x y number, -1 = none; it may be empty."""
    lines = _lines(path)
    for line, seen in zip_longest(lines[::2], lines[1::2], fillvalue=""):
        if line.strip():
            points = np.array(seen.split()[2::3], np.int64)
            yield line.split(), points[points >= 0]


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
