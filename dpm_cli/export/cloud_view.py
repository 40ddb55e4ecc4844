"""A picture of a coloured point cloud from any camera, by a plain z-buffer; needs no graphics library."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.formats.ply import PointCloud

_BACKGROUND = 24


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
    near = (np.abs(x - width / 2) < width) & (np.abs(y - height / 2) < height)
    order = np.flatnonzero(near)[np.argsort(-points[near, 2], kind="stable")]
    x, y, colors, depth = (
        x[order].astype(int),
        y[order].astype(int),
        colors[order],
        points[order, 2],
    )
    picture = np.full((height * width, 3), _BACKGROUND, np.uint8)
    nearest = np.full(height * width, np.inf)
    for dy in range(-radius_px, radius_px + 1):
        for dx in range(-radius_px, radius_px + 1):
            px, py = x + dx, y + dy
            inside = (px >= 0) & (px < width) & (py >= 0) & (py < height)
            index = py[inside] * width + px[inside]
            closest = np.full(height * width, np.inf)
            np.minimum.at(closest, index, depth[inside])
            wins = (depth[inside] <= closest[index]) & (depth[inside] < nearest[index])
            picture[index[wins]] = colors[inside][wins]
            nearest[index[wins]] = depth[inside][wins]
    return picture.reshape(height, width, 3)


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
    local = cloud.points @ world2cam[:3, :3].T + world2cam[:3, 3]
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
