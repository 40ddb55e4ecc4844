"""A scene in space and time as formats take it that hold all of it in one file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    first: int = 0
    """The first frame whose camera is registered."""

    def mixed(self) -> "PointScene":
        """The same with the points of each cloud in no order."""
        return replace(self, still=self.still.mixed(), moving=[c.mixed() for c in self.moving])

    @property
    def distance(self) -> float:
        """Median distance of all points from the first camera, world units."""
        points = np.concatenate([c.points for c in (self.still, *self.moving)])
        return float(np.median(np.linalg.norm(points - self.cam2world[0, :3, 3], axis=1)))

    @property
    def depth_range(self) -> tuple[float, float]:
        """Depths of the nearest and the farthest still points before some cameras, without the last 2 % each."""
        some = np.linspace(self.first, len(self.cam2world) - 1, 4).astype(int)
        depths = [(self.still.points - pose[:3, 3]) @ pose[:3, 2] for pose in self.cam2world[some]]
        depth = np.concatenate(depths)
        depth = depth[depth > 0]
        near, far = np.quantile(depth, (0.02, 0.98)) if len(depth) else (1.0, 2.0)
        return float(near), float(max(far, near * 1.001))
