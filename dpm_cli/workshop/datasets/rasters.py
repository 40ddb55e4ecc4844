"""Image-like files of public data sets as arrays: colour, depth, disparity, labels."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from dpm_cli.errors import InputError, MissingExtraError
from dpm_cli.formats.flo import read_flo
from dpm_cli.formats.kitti_flow import read_kitti_flow
from dpm_cli.video.images import read_image
from dpm_cli.workshop.datasets.truth import FlowTruth

SINTEL_TAG = 202021.25


def read_flow(path: Path) -> FlowTruth:
    """Optical flow of a .flo (Middlebury), .png (KITTI) or .flo5 (Spring) file."""
    if path.suffix == ".flo5":
        flow = read_hdf5(path, "flow")
        valid = np.asarray(np.isfinite(flow).all(-1))
        return FlowTruth(np.where(valid[..., None], flow, 0).astype(np.float32), valid)
    field = read_flo(path) if path.suffix == ".flo" else read_kitti_flow(path)
    return FlowTruth(field.flow, field.valid)


def read_hdf5(path: Path, key: str) -> np.ndarray:
    """One array of an HDF5 file.

    Raises:
        MissingExtraError: h5py is not installed.
        InputError: not an HDF5 file, or without `key`.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("h5py", "eval") from error
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[key])
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as HDF5 with the array '{key}'") from error


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8."""
    return read_image(path)


def read_raw(path: Path) -> np.ndarray:
    """The file's own values and channels (BGR order), any depth.

    Raises:
        InputError: missing or damaged.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{path} cannot be read as an image")
    return image


def read_depth_png(path: Path, unit: float, invalid: int = 65535) -> np.ndarray:
    """(H, W) float32 depth from a 16-bit file where one count is `unit`; 0 and `invalid` become 0."""
    raw = read_raw(path)
    if raw.ndim != 2:
        raise InputError(f"{path}: expected one channel of 16 bit depth, found {raw.ndim} axes")
    return np.where(raw == invalid, 0, raw).astype(np.float32) * np.float32(unit)


def read_label(path: Path) -> np.ndarray:
    """(H, W) of a mask or label file; palette files give indices, colour files their largest channel.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} cannot be read as a mask") from error
    return labels if labels.ndim == 2 else labels[..., :3].max(-1)


def read_sintel_depth(path: Path) -> np.ndarray:
    """(H, W) float32 of a .dpt file: tag, width, height, then float32 rows."""
    data = path.read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != np.float32(SINTEL_TAG):
        raise InputError(f"{path} is no Sintel .dpt file")
    width, height = np.frombuffer(data, "<i4", 2, 4)
    if len(data) < 12 + 4 * width * height:
        raise InputError(f"{path} is cut off: {width} x {height} depths expected")
    return np.frombuffer(data, "<f4", width * height, 12).reshape(height, width).copy()


def read_sintel_camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) and cam_from_world (4, 4), both float64, of a .cam file."""
    data = path.read_bytes()
    if len(data) < 172 or np.frombuffer(data, "<f4", 1)[0] != np.float32(SINTEL_TAG):
        raise InputError(f"{path} is no Sintel .cam file")
    values = np.frombuffer(data, "<f8", 21, 4)
    cam_from_world = np.vstack((values[9:].reshape(3, 4), (0, 0, 0, 1)))
    return values[:9].reshape(3, 3).copy(), cam_from_world


def read_kitti_disparity(path: Path) -> np.ndarray:
    """(H, W) float32 disparity in pixels, 0 = no truth."""
    return read_raw(path).astype(np.float32) / 256
