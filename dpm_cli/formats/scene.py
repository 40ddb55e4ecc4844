"""A scene in space and time as formats take it that hold all of it in one file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.formats.ply import PointCloud

FLIP = np.diag((1.0, -1.0, -1.0))
"""OpenCV axes (y down, z forward) to those of glTF and USD (y up, z backward) and back, of worlds and of cameras."""


@dataclass(frozen=True, eq=False)
class PointScene:
    """Points that stand still, points of every frame that move, and cameras; world units, OpenCV axes."""

    name: str
    model: str
    still: PointCloud
    moving: Sequence[PointCloud]
    """One a frame."""
    cam2world: np.ndarray
    """(T, 4, 4)."""
    intrinsics: np.ndarray
    """(T, 3, 3) pixels."""
    size: tuple[int, int]
    """(height, width) of the images that the intrinsics are of."""
    timestamps: np.ndarray
    """(T,) seconds."""
