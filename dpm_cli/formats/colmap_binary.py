"""COLMAP's binary model: `cameras.bin`, `images.bin`, `points3D.bin`, little endian."""

import struct
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

_PINHOLE = 1
_CAMERA = struct.Struct("<iiQQ4d")
_IMAGE = struct.Struct("<i7di")
_POINT = struct.Struct("<Q3d3BdQ")
_COUNT = struct.Struct("<Q")
_SEEN = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])


def write_colmap_binary(folder: Path, model: ColmapModel) -> None:
    """Write the three files into `folder`, each atomically."""
    height, width = model.size
    rows = model_rows(model)
    cameras = [
        _CAMERA.pack(c + 1, _PINHOLE, width, height, *p) for c, p in enumerate(rows.parameters)
    ]
    images = []
    for t, name in enumerate(model.names):
        seen = np.empty(len(rows.points[t]), _SEEN)
        seen["x"], seen["y"] = rows.corners[t].T
        seen["point"] = np.where(rows.points[t] < 0, -1, rows.points[t] + 1)
        head = _IMAGE.pack(t + 1, *rows.poses[t], int(rows.camera[t]) + 1)
        images.append(head + name.encode() + b"\0" + _COUNT.pack(len(seen)) + seen.tobytes())
    cloud = zip(model.cloud.points.tolist(), model.cloud.colors.tolist(), rows.tracks, strict=True)
    points = [
        _POINT.pack(i + 1, *xyz, *rgb, UNKNOWN_ERROR, len(track))
        + (track + (1, 0)).astype("<i4").tobytes()
        for i, (xyz, rgb, track) in enumerate(cloud)
    ]
    for name, parts in (("cameras", cameras), ("images", images), ("points3D", points)):
        with atomic_path(folder / f"{name}.bin") as temporary:
            temporary.write_bytes(_COUNT.pack(len(parts)) + b"".join(parts))


@reads("a COLMAP model", FloatingPointError)
@np.errstate(over="raise", invalid="raise")
def read_colmap_binary(folder: Path) -> ColmapModel:
    """Read a binary model of PINHOLE cameras whose images all have one size.

    Raises:
        InputError: a file is missing or damaged, or a camera is not PINHOLE.
    """
    try:
        return _read(folder)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (struct.error, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds a damaged COLMAP model") from error


def _read(folder: Path) -> ColmapModel:
    cameras = {}
    file = _Bytes(folder / "cameras.bin")
    size = (0, 0)
    for _ in range(file.take(_COUNT)[0]):
        number, kind, width, height, *parameters = file.take(_CAMERA)
        if kind != _PINHOLE:
            raise InputError(f"{folder}/cameras.bin: only PINHOLE cameras are read")
        cameras[number], size = parameters, (height, width)
    numbers, colours, ids = [], [], {}
    file = _Bytes(folder / "points3D.bin")
    for i in range(file.take(_COUNT)[0]):
        number, x, y, z, r, g, b, _, length = file.take(_POINT)
        ids[number] = i
        numbers.append((x, y, z))
        colours.append((r, g, b))
        file.array(np.dtype("<i4"), 2 * length)
    cloud = PointCloud(
        np.array(numbers, np.float32).reshape(-1, 3), np.array(colours, np.uint8).reshape(-1, 3)
    )
    names, poses, parameters, seen = [], [], [], []
    file = _Bytes(folder / "images.bin")
    for t in range(file.take(_COUNT)[0]):
        _, *pose, camera = file.take(_IMAGE)
        names.append(file.text())
        poses.append(pose)
        parameters.append(cameras[camera])
        rows = file.array(_SEEN, file.take(_COUNT)[0])
        rows = rows[rows["point"] >= 0]
        seen.append((np.full(len(rows), t), [ids[p] for p in rows["point"].tolist()], rows))
    observations = Observations(
        np.concatenate([s[0] for s in seen]),
        np.concatenate([np.array(s[1], np.int64) for s in seen]),
        np.concatenate([np.stack((s[2]["x"], s[2]["y"]), 1) for s in seen]) - 0.5,
    )
    cameras = np.array(parameters).reshape(len(names), 4), np.array(poses).reshape(len(names), 7)
    return model_of(names, size, *cameras, cloud, observations)


class _Bytes:
    """A file read piece by piece; struct.error or ValueError where it ends too soon."""

    def __init__(self, path: Path):
        self.data, self.at = path.read_bytes(), 0

    def take(self, layout: struct.Struct) -> tuple:
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def array(self, dtype: np.dtype, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode()
        self.at = end + 1
        return value
