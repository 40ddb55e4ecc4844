"""A COLMAP model in dpm's conventions, and what its text and binary files have in common.

Poses are world-to-camera with Hamilton quaternions, real part first. COLMAP's pixel (0, 0) is the corner of the first
pixel, ours is its centre, so principal points and observations move by half a pixel. Format: COLMAP doc/format.rst.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.formats.ply import PointCloud

HALF_PIXEL = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
UNKNOWN_ERROR = -1.0
"""What COLMAP writes for a point whose reprojection error was not computed."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Where images see points; M of them."""

    image: np.ndarray
    """(M,) int64, row of the image."""
    point: np.ndarray
    """(M,) int64, row of the point."""
    pixels: np.ndarray
    """(M, 2) float64, x and y, pixel centres at integers."""

    @classmethod
    def none(cls) -> "Observations":
        """No observation."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)))

    def in_order(self) -> "Observations":
        """Sorted by image."""
        order = np.argsort(self.image, kind="stable")
        return Observations(self.image[order], self.point[order], self.pixels[order])


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Pinhole cameras and points."""

    names: list[str]
    """File name of each image."""
    size: tuple[int, int]
    """(height, width)."""
    intrinsics: np.ndarray
    """(T, 3, 3), pixel centres at integers."""
    cam2world: np.ndarray
    """(T, 4, 4)."""
    cloud: PointCloud
    observations: Observations = field(default_factory=Observations.none)


@dataclass(frozen=True, eq=False)
class ModelRows:
    """A model in COLMAP's numbers; ids are rows plus one."""

    camera: np.ndarray
    """(T,) int64, row of the camera of each image."""
    parameters: np.ndarray
    """(C, 4) fx, fy, cx, cy."""
    poses: np.ndarray
    """(T, 7) quaternion and translation."""
    corners: list[np.ndarray]
    """Of each image (N, 2) x and y of its observations, never empty: many readers stop at an empty line."""
    points: list[np.ndarray]
    """Of each image (N,) int64, row of the point, -1 = none."""
    tracks: list[np.ndarray]
    """Of each point (L, 2) int64, image row and place in that image."""


def model_rows(model: ColmapModel) -> ModelRows:
    """What both kinds of files hold; images of the same intrinsics share a camera."""
    K = HALF_PIXEL @ model.intrinsics
    parameters = K[:, [0, 1, 0, 1], [0, 1, 2, 2]]
    unique, camera = np.unique(parameters.round(9), axis=0, return_inverse=True)
    world2cam = np.linalg.inv(model.cam2world)
    quaternions = Rotation.from_matrix(world2cam[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    seen = model.observations.in_order()
    count = len(model.names)
    borders = np.searchsorted(seen.image, np.arange(count + 1))
    height, width = model.size
    corners, points = [], []
    for first, last in pairwise(borders):
        empty = first == last
        middle = np.array([[width / 2, height / 2]])
        corners.append(middle if empty else seen.pixels[first:last] + 0.5)
        points.append(np.array([-1]) if empty else seen.point[first:last])
    place = np.arange(len(seen.image)) - borders[seen.image]
    by_point = np.argsort(seen.point, kind="stable")
    pairs = np.stack((seen.image, place), 1)[by_point]
    ends = np.searchsorted(seen.point[by_point], np.arange(1, len(model.cloud)))
    tracks = np.split(pairs, ends) if len(model.cloud) else []
    return ModelRows(
        camera.reshape(-1),
        unique,
        np.concatenate((quaternions, world2cam[:, :3, 3]), 1),
        corners,
        points,
        tracks,
    )


def model_of(
    names: list[str],
    size: tuple[int, int],
    parameters: np.ndarray,
    poses: np.ndarray,
    cloud: PointCloud,
    observations: Observations,
) -> ColmapModel:
    """The model of what a reader found: parameters (T, 4) of each image's camera, poses (T, 7)."""
    count = len(names)
    if not (np.isfinite(parameters).all() and np.isfinite(poses).all()):
        raise ValueError("a camera or a pose is not finite")
    K = np.tile(np.eye(3), (count, 1, 1))
    K[:, [0, 1, 0, 1], [0, 1, 2, 2]] = parameters
    world2cam = np.tile(np.eye(4), (count, 1, 1))
    world2cam[:, :3, :3] = Rotation.from_quat(poses[:, [1, 2, 3, 0]]).as_matrix()
    world2cam[:, :3, 3] = poses[:, 4:]
    return ColmapModel(
        names, size, np.linalg.inv(HALF_PIXEL) @ K, np.linalg.inv(world2cam), cloud, observations
    )
