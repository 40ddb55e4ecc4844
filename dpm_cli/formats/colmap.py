"""COLMAP's text model: `cameras.txt`, `images.txt`, `points3D.txt`.

Every image has two lines, the second its 2D points; it is never empty, because many readers skip or stop at blank ones.
"""

from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads
from dpm_cli.formats.colmap_model import (
    UNKNOWN_ERROR,
    ColmapModel,
    Observations,
    model_of,
    model_rows,
)
from dpm_cli.formats.ply import PointCloud


def write_colmap(folder: Path, model: ColmapModel) -> None:
    """Write the three text files into `folder`, each atomically."""
    height, width = model.size
    rows = model_rows(model)
    cameras = [
        f"{c + 1} PINHOLE {width} {height} {_numbers(p)}" for c, p in enumerate(rows.parameters)
    ]
    images = []
    for t, name in enumerate(model.names):
        images.append(f"{t + 1} {_numbers(rows.poses[t])} {rows.camera[t] + 1} {name}")
        ids = np.where(rows.points[t] < 0, -1, rows.points[t] + 1)
        seen = zip(rows.corners[t].tolist(), ids.tolist(), strict=True)
        images.append(" ".join(f"{x:.2f} {y:.2f} {i}" for (x, y), i in seen))
    points = [
        f"{i + 1} {_numbers(xyz)} {r} {g} {b} {UNKNOWN_ERROR:g}{_track(track)}"
        for i, (xyz, (r, g, b), track) in enumerate(
            zip(model.cloud.points.tolist(), model.cloud.colors.tolist(), rows.tracks, strict=True)
        )
    ]
    _write_lines(folder / "cameras.txt", "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", cameras)
    header = "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then POINTS2D[]"
    _write_lines(folder / "images.txt", header, images)
    _write_lines(folder / "points3D.txt", "POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]", points)


def _numbers(values) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _track(track: np.ndarray) -> str:
    return "".join(f" {image + 1} {place}" for image, place in track.tolist())


def _write_lines(path: Path, header: str, lines: list[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join((f"# {header}", *lines)) + "\n", encoding="utf-8")


@reads("a COLMAP model")
def read_colmap(folder: Path) -> ColmapModel:
    """Read a text model of PINHOLE cameras whose images all have one size.

    Raises:
        InputError: a file is missing, or a camera is not PINHOLE.
    """
    cameras = {row[0]: row for row in _read_lines(folder / "cameras.txt")}
    if any(row[1] != "PINHOLE" for row in cameras.values()):
        raise InputError(f"{folder}/cameras.txt: only PINHOLE cameras are read")
    lines = _read_lines(folder / "images.txt")
    images = lines[::2]
    rows = _read_lines(folder / "points3D.txt")
    number = {row[0]: i for i, row in enumerate(rows)}
    image, point, pixels = [], [], []
    for t, seen in enumerate(lines[1::2]):
        for x, y, i in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
            if i != "-1":
                image.append(t)
                point.append(number[i])
                pixels.append((float(x) - 0.5, float(y) - 0.5))
    values = np.array([row[1:7] for row in rows], np.float64).reshape(-1, 6)
    if not (np.abs(values[:, :3]) < np.finfo(np.float32).max).all():
        raise InputError(f"{folder}/points3D.txt: a point is not finite")
    if not ((values[:, 3:] >= 0) & (values[:, 3:] < 256)).all():
        raise InputError(f"{folder}/points3D.txt: a colour is not 0 to 255")
    if not cameras:
        raise InputError(f"{folder}/cameras.txt holds no camera")
    first = next(iter(cameras.values()))
    return model_of(
        [row[9] for row in images],
        (int(first[3]), int(first[2])),
        np.array([cameras[row[8]][4:8] for row in images], np.float64).reshape(len(images), 4),
        np.array([row[1:8] for row in images], np.float64).reshape(len(images), 7),
        PointCloud(values[:, :3].astype(np.float32), values[:, 3:].astype(np.uint8)),
        Observations(
            np.array(image, np.int64), np.array(point, np.int64), np.array(pixels).reshape(-1, 2)
        ),
    )


def _read_lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return [line.split() for line in lines if line and not line.startswith("#")]
