"""TAPVid-3D: one .npz a clip with the frames as JPEG bytes and tracks in each frame's camera.

Keys: images_jpeg_bytes (T,), tracks_XYZ (T, N, 3) metres, visibility (T, N), intrinsics or fx_fy_cx_cy (4,), and for
some sources extrinsics_w2c (T, 4, 4). The JPEG bytes are an object array, which numpy stores as a pickle: it is read
by an unpickler that knows arrays of bytes and refuses everything else.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import files, folders, wrong_layout
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth, TrackTruth

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_tapvid3d(root: Path) -> list[SequenceTruth]:
    """Every clip in `root` and its sub-folders (adt, drivetrack, pstudio).

    Raises:
        InputError: no such files.
    """
    found = [p for folder in (root, *folders(root)) for p in files(folder, "*.npz")]
    if not found:
        raise wrong_layout(
            "tapvid3d", root, "<source>/<clip>.npz with images_jpeg_bytes and tracks_XYZ"
        )
    return [_sequence(p) for p in found]


def _sequence(path: Path) -> SequenceTruth:
    jpegs = _jpeg_bytes(path)
    with np.load(path, allow_pickle=False) as data:
        camera = next((k for k in ("fx_fy_cx_cy", "intrinsics") if k in data), None)
        if camera is None or "tracks_XYZ" not in data or "visibility" not in data:
            raise InputError(f"{path}: expected tracks_XYZ, visibility and fx_fy_cx_cy in it")
        fx, fy, cx, cy = data[camera].astype(np.float64).reshape(-1)[:4]
        tracks = data["tracks_XYZ"].astype(np.float64)
        visible = data["visibility"].astype(bool)
        world_to_camera = (
            data["extrinsics_w2c"].astype(np.float64) if "extrinsics_w2c" in data else None
        )
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    z = np.maximum(tracks[..., 2:], 1e-9)
    pixels = tracks[..., :2] / z * (fx, fy) + (cx, cy)
    valid = np.isfinite(tracks).all(-1) & (tracks[..., 2] > 0)
    cam2world = None if world_to_camera is None else np.linalg.inv(world_to_camera)
    points = tracks
    if cam2world is not None:
        points = np.einsum("tij,tnj->tni", cam2world[:, :3, :3], tracks) + cam2world[:, None, :3, 3]
    return SequenceTruth(
        dataset="tapvid3d",
        name=path.stem,
        images=Lazy(tuple(jpegs), _decode),
        intrinsics=np.tile(K, (len(jpegs), 1, 1)),
        cam2world=cam2world,
        tracks=TrackTruth(points, pixels, valid, visible & valid),
        metric=True,
    )


def _decode(jpeg: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError("a frame of a TAPVid-3D clip is no JPEG image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class _BytesOnly(pickle.Unpickler):
    """Arrays of bytes and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


def _jpeg_bytes(path: Path) -> list[bytes]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images_jpeg_bytes.npy") as file:
            stream = io.BytesIO(file.read())
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version[0] == 1
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            rows = np.frombuffer(stream.read(), dtype)
            return [bytes(row) for row in rows[: shape[0]]]
        frames = _BytesOnly(stream).load()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: images_jpeg_bytes cannot be read ({error})") from error
    return [bytes(frame) for frame in frames]
