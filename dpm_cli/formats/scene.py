"""A scene in space and time as formats take it that hold all of it in one file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.formats.ply import PointCloud

GL_FROM_CV = np.diag((1.0, -1.0, -1.0, 1.0))
"""OpenCV axes (y down, z forward) to those of OpenGL, glTF and USD (y up, z backward) and back."""
FLIP = GL_FROM_CV[:3, :3]
"""The same for directions and points."""


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
    """(T,) seconds, rising."""

    @property
    def distance(self) -> float:
        """Median distance of all points from the first camera, world units."""
        points = np.concatenate([c.points for c in (self.still, *self.moving)])
        return float(np.median(np.linalg.norm(points - self.cam2world[0, :3, 3], axis=1)))
