"""Kubric: MOVi as TensorFlow Datasets publishes it (*.tfrecord-*), and the renderer's own scene folders.

A TFDS record holds video, depth and segmentations as lists of PNG files, the camera and each object's pose per frame.
A scene folder holds rgba_00000.png, depth_00000.tiff, segmentation_00000.png and metadata.json with the same.
Depth is the distance to the camera's centre and becomes z here. Cameras look down -z (Blender); quaternions are
w x y z. Objects are rigid, so their poses give the four maps of every pair.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import files, folders, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_label, read_raw
from dpm_cli.workshop.datasets.tfrecord import RECORD_HEAD, RECORD_TAIL, read_example, read_records
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth

_CV_FROM_BLENDER = np.diag((1.0, -1.0, -1.0, 1.0))


def read_movi(root: Path) -> list[SequenceTruth]:
    """Every scene of the TFRecord files in `root` (one file at least), or every scene folder.

    Raises:
        InputError: neither is there, or a record is of another data set.
    """
    records = files(root, "*.tfrecord*") + files(root, "**/*.tfrecord*")
    if records:
        return [scene for path in dict.fromkeys(records) for scene in _scenes(path)]
    scenes = [p for p in (root, *folders(root)) if (p / "metadata.json").is_file()]
    if not scenes:
        raise wrong_layout(
            "movi",
            root,
            "*.tfrecord-* (TFDS) or <scene>/{metadata.json,rgba_00000.png,depth_00000.tiff}",
        )
    return [_folder(p) for p in scenes]


class _Part(NamedTuple):
    """A PNG file inside a record, read when it is asked for: the published sets do not fit into memory."""

    path: Path
    start: int
    length: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


def _scenes(path: Path) -> Iterator[SequenceTruth]:
    start = 0
    for data in read_records(path):
        yield _scene(data, path, start + RECORD_HEAD)
        start += RECORD_HEAD + len(data) + RECORD_TAIL


def _parts(path: Path, start: int, data: bytes, files: list[bytes]) -> tuple[_Part, ...]:
    """Where the `files` of one feature lie, which follow each other in the record `data` that begins at `start`."""
    found, at = [], 0
    for content in files:
        at = data.index(content, at)
        found.append(_Part(path, start + at, len(content)))
        at += len(content)
    return tuple(found)


def _scene(data: bytes, path: Path, start: int) -> SequenceTruth:
    record: dict[str, Any] = read_example(data)
    wanted = (
        "video",
        "depth",
        "segmentations",
        "metadata/depth_range",
        "camera/positions",
        "instances/positions",
    )
    missing = [key for key in wanted if key not in record]
    if missing:
        raise InputError(f"{path}: a record has no {', '.join(missing)}, so it is not of MOVi")
    frames = len(record["video"])
    camera = _cameras(
        record["camera/positions"].reshape(frames, 3),
        record["camera/quaternions"].reshape(frames, 4),
        float(record["camera/focal_length"][0]),
        float(record["camera/sensor_width"][0]),
        _png(record["video"][0]).shape[:2],
    )
    poses = _poses(
        record["instances/positions"].reshape(-1, frames, 3).swapaxes(0, 1),
        record["instances/quaternions"].reshape(-1, frames, 4).swapaxes(0, 1),
    )
    low, high = record["metadata/depth_range"]
    distance = partial(_range_depth, low=float(low), high=float(high), K=camera[0][0])
    name = record.get("metadata/video_name", [path.name.encode()])[0].decode()
    video, depth, ids = (
        _parts(path, start, data, record[key]) for key in ("video", "depth", "segmentations")
    )
    return _sequence(
        name,
        Lazy(video, _colour),
        Lazy(depth, distance),
        Lazy(ids, _ids),
        camera,
        poses,
    )


def _folder(root: Path) -> SequenceTruth:
    metadata = json.loads((root / "metadata.json").read_text())
    camera_data, objects = metadata["camera"], metadata["instances"]
    images = files(root, "rgba_*.png")
    if not images:
        raise wrong_layout("movi", root, "rgba_00000.png beside metadata.json")
    camera = _cameras(
        np.array(camera_data["positions"]),
        np.array(camera_data["quaternions"]),
        camera_data["focal_length"],
        camera_data["sensor_width"],
        read_raw(images[0]).shape[:2],
    )
    poses = _poses(
        np.array([o["positions"] for o in objects], np.float64)
        .reshape(-1, len(images), 3)
        .swapaxes(0, 1),
        np.array([o["quaternions"] for o in objects], np.float64)
        .reshape(-1, len(images), 4)
        .swapaxes(0, 1),
    )
    return _sequence(
        root.name,
        Lazy(tuple(images), lambda path: read_raw(path)[..., 2::-1].copy()),
        Lazy(tuple(files(root, "depth_*.tiff")), lambda path: _z(read_raw(path), camera[0][0])),
        Lazy(
            tuple(files(root, "segmentation_*.png")),
            lambda path: read_label(path).astype(np.int64) - 1,
        ),
        camera,
        poses,
    )


def _sequence(
    name: str,
    images: Lazy[np.ndarray],
    depth: Lazy[np.ndarray],
    ids: Lazy[np.ndarray],
    camera: tuple[np.ndarray, np.ndarray],
    poses: np.ndarray,
) -> SequenceTruth:
    return SequenceTruth(
        dataset="movi",
        name=name,
        images=images,
        depth=depth,
        intrinsics=camera[0],
        cam2world=camera[1],
        object_ids=ids,
        object_poses=poses,
        metric=True,
    )


def _cameras(
    positions: np.ndarray,
    quaternions: np.ndarray,
    focal_mm: float,
    sensor_mm: float,
    size: Iterable[int],
) -> tuple[np.ndarray, np.ndarray]:
    """K (T, 3, 3) with pixel centres at integers, and cam2world (T, 4, 4) with OpenCV axes."""
    height, width = size
    focal_px = focal_mm / sensor_mm * width
    K = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    return np.tile(K, (len(positions), 1, 1)), _poses(positions, quaternions) @ _CV_FROM_BLENDER


def _poses(positions: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
    """(..., 4, 4) from positions (..., 3) and quaternions (..., 4) as w x y z."""
    out = np.zeros((*positions.shape[:-1], 4, 4))
    flat = Rotation.from_quat(quaternions.reshape(-1, 4)[:, [1, 2, 3, 0]]).as_matrix()
    out[..., :3, :3] = flat.reshape(*positions.shape[:-1], 3, 3)
    out[..., :3, 3] = positions
    out[..., 3, 3] = 1
    return out


def _png(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError("a frame of a MOVi record is no PNG image")
    return image


def _colour(part: _Part) -> np.ndarray:
    return _png(part.read())[..., 2::-1].copy()


def _ids(part: _Part) -> np.ndarray:
    return _png(part.read()).astype(np.int64) - 1


def _range_depth(part: _Part, low: float, high: float, K: np.ndarray) -> np.ndarray:
    return _z(_png(part.read()).astype(np.float32) / 65535 * (high - low) + low, K)


def _z(distance: np.ndarray, K: np.ndarray) -> np.ndarray:
    """z-depth (H, W) float32 from the distance to the camera's centre."""
    height, width = distance.shape[:2]
    x, y = np.meshgrid(np.arange(width) - K[0, 2], np.arange(height) - K[1, 2])
    length = np.sqrt((x / K[0, 0]) ** 2 + (y / K[1, 1]) ** 2 + 1)
    return (distance.reshape(height, width) / length).astype(np.float32)
