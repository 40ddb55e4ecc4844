"""A picture of a coloured point cloud from any camera, painted from far to near; needs no graphics library."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.formats.ply import PointCloud

_BACKGROUND = 24
_FRAMING_POINTS = 20_000


@dataclass(frozen=True, eq=False)
class ViewCamera:
    """A virtual camera."""

    cam2world: np.ndarray
    """(4, 4)."""
    intrinsics: np.ndarray
    """(3, 3) at `size`."""
    size: tuple[int, int]
    """(height, width)."""


def render_cloud(cloud: PointCloud, camera: ViewCamera, *, radius_px: int = 1) -> np.ndarray:
    """Picture (H, W, 3) uint8 of the cloud; every point is a square of 2 * radius + 1 pixels, the nearest one wins."""
    height, width = camera.size
    world2cam = np.linalg.inv(camera.cam2world)
    points = cloud.points @ world2cam[:3, :3].T + world2cam[:3, 3]
    seen = points[:, 2] > 1e-6
    points, colors = points[seen], cloud.colors[seen]
    pixels = points @ camera.intrinsics.T
    x = np.rint(pixels[:, 0] / pixels[:, 2])
    y = np.rint(pixels[:, 1] / pixels[:, 2])
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    order = np.flatnonzero(inside)[np.argsort(-points[inside, 2], kind="stable")]
    # Rank 1 is the farthest point. Where several fall on a pixel numpy keeps the last, which is the nearest, and a
    # maximum over the neighbourhood draws every point as a square with the nearest on top.
    rank = np.zeros((height, width), np.float64)
    rank[y[order].astype(np.int64), x[order].astype(np.int64)] = np.arange(1, len(order) + 1)
    side = 2 * radius_px + 1
    rank = cv2.dilate(rank, np.ones((side, side), np.uint8)).astype(np.int64)
    palette = np.concatenate((np.full((1, 3), _BACKGROUND, np.uint8), colors[order]))
    return palette[rank]


def side_camera(
    cloud: PointCloud,
    camera: ViewCamera,
    *,
    turn_deg: float = 35.0,
    tilt_deg: float = 12.0,
) -> ViewCamera:
    """`camera` swung around the middle of the cloud: to the right by `turn_deg`, upwards by `tilt_deg`.

    The middle is the median point, and the new camera stands back until 90 % of the points are in its picture.
    """
    world2cam = np.linalg.inv(camera.cam2world)
    sample = cloud.points[:: max(1, len(cloud) // _FRAMING_POINTS)]
    local = sample @ world2cam[:3, :3].T + world2cam[:3, 3]
    pivot = np.median(local, axis=0)
    swing = Rotation.from_euler("YX", (-turn_deg, -tilt_deg), degrees=True).as_matrix()
    relative = (local - pivot) @ swing
    half_width = camera.size[1] / 2 / camera.intrinsics[0, 0]
    half_height = camera.size[0] / 2 / camera.intrinsics[1, 1]
    needed = np.maximum(np.abs(relative[:, 0]) / half_width, np.abs(relative[:, 1]) / half_height)
    distance = float(np.quantile(needed - relative[:, 2], 0.9))
    pose = np.eye(4)
    pose[:3, :3] = swing
    pose[:3, 3] = pivot - swing @ (0.0, 0.0, distance)
    return ViewCamera(camera.cam2world @ pose, camera.intrinsics, camera.size)
