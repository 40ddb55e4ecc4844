"""Middlebury `.flo`: `PIEH`, int32 width and height, float32 u v row by row; unknown where |u| or |v| > 1e9.

Format: vision.middlebury.edu/flow/code/flow-code/README.txt.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads

_MAGIC = b"PIEH"
UNKNOWN = 1e10


@dataclass(frozen=True, eq=False)
class FlowField:
    """Optical flow with validity."""

    flow: np.ndarray
    """(H, W, 2) float32 pixels of the stored size; zero where not valid."""
    valid: np.ndarray
    """(H, W) bool."""


def write_flo(path: Path, field: FlowField) -> None:
    """Write atomically; pixels that are not valid become 1e10."""
    height, width = field.valid.shape
    values = np.where(field.valid[..., None], field.flow, np.float32(UNKNOWN)).astype("<f4")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(_MAGIC + np.array((width, height), "<i4").tobytes())
        values.tofile(file)


@reads(".flo")
def read_flo(path: Path) -> FlowField:
    """Read a .flo file.

    Raises:
        InputError: missing, of another format or truncated.
    """
    with open(path, "rb") as file:
        magic = file.read(4)
        size = np.fromfile(file, "<i4", 2)
        values = np.fromfile(file, "<f4")
    if magic != _MAGIC or len(size) < 2:
        raise InputError(f"{path} is not a Middlebury .flo file")
    width, height = size.tolist()
    if min(width, height) < 1 or width * height * 2 != len(values):
        raise InputError(f"{path} is truncated: {width}x{height} pixels are announced")
    flow = values.reshape(height, width, 2)
    with np.errstate(invalid="ignore"):  # NaN is not below anything
        valid = np.abs(flow).max(-1, initial=0) < 1e9
    return FlowField(np.where(valid[..., None], flow, np.float32(0)), valid)
