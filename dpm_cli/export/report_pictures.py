"""The pictures of a report that are not those of a run's preview: the scene from around and from above."""

from dataclasses import replace

import cv2
import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.export.cloud_view import ViewCamera, render_cloud, side_camera
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.formats.ply import PointCloud
from dpm_cli.sequence import Sequence4D

_TURNS_DEG = (-45.0, -27.0, -9.0, 9.0, 27.0, 45.0)
_TILT_DEG = 15.0
_POINTS = 400_000
_MAP_WIDTH = 640
_MAP_HEIGHT = (240, 640)
_BACKGROUND = 24
_CAMERA = (255, 190, 50)
_UNREGISTERED = (255, 60, 60)


def report_cloud(sequence: Sequence4D, options: ExportOptions) -> PointCloud | None:
    """What stands still, and what moves as it is in the middle frame; None where there is nothing."""
    if not sequence.camera_ok.any():
        return None
    some = replace(options, max_points=options.max_points or _POINTS, normals=False)
    still = static_cloud(sequence, some)
    used = np.flatnonzero(sequence.camera_ok)
    moving = moving_cloud(sequence, int(used[len(used) // 2]), some)
    points = np.concatenate((still.points, moving.points))
    if not len(points):
        return None
    return PointCloud(points, np.concatenate((still.colors, moving.colors)))


def turntable(sequence: Sequence4D, cloud: PointCloud) -> list[np.ndarray]:
    """The cloud (H, W, 3) uint8 from the left, the front and the right, from a little above."""
    t = int(np.flatnonzero(sequence.camera_ok)[0])
    camera = ViewCamera(sequence.cam2world[t], sequence.intrinsics[t], sequence.size)
    views = (side_camera(cloud, camera, turn_deg=d, tilt_deg=_TILT_DEG) for d in _TURNS_DEG)
    return [render_cloud(cloud, view) for view in views]


def path_from_above(sequence: Sequence4D, cloud: PointCloud | None) -> np.ndarray:
    """A map (H, W, 3) uint8: points and cameras seen along the first camera's y axis, its view pointing up.

    Cameras are a line with a wedge for the first and the last one, unregistered ones red dots; a bar tells the scale.
    """
    places = sequence.cam2world[:, [0, 2], 3]
    ground = np.zeros((0, 2)) if cloud is None else cloud.points[:, [0, 2]]
    low, high = _extent(places, ground)
    scale = (_MAP_WIDTH - 20) / (high - low)[0]
    height = int(np.clip((high - low)[1] * scale + 20, *_MAP_HEIGHT))
    scale = min(scale, (height - 20) / (high - low)[1])
    middle = (low + high) / 2

    def at(xz: np.ndarray) -> np.ndarray:
        offset = (xz - middle) * (scale, -scale)
        return np.rint(offset + (_MAP_WIDTH / 2, height / 2)).astype(np.int64)

    picture = np.full((height, _MAP_WIDTH, 3), _BACKGROUND, np.uint8)
    if cloud is not None:
        x, y = at(ground).T
        inside = (x >= 0) & (x < _MAP_WIDTH) & (y >= 0) & (y < height)
        # What lies highest (smallest y) is painted last, as one would see it from above.
        order = np.flatnonzero(inside)[np.argsort(-cloud.points[inside, 1], kind="stable")]
        picture[y[order], x[order]] = (0.6 * cloud.colors[order]).astype(np.uint8)
    _draw_cameras(picture, sequence, at, scale)
    return picture


def _extent(places: np.ndarray, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (x, z) of a map that holds all cameras and most points, of at least some size."""
    shown = places
    if len(ground):
        shown = np.concatenate((places, np.quantile(ground, (0.02, 0.98), axis=0)))
    low, high = shown.min(0), shown.max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = np.maximum(half, max(0.1 * half.max(), 1e-6)) * 1.1
    return middle - half, middle + half


def _draw_cameras(picture: np.ndarray, sequence: Sequence4D, at, scale: float) -> None:
    used = np.flatnonzero(sequence.camera_ok)
    pixels = at(sequence.cam2world[:, [0, 2], 3])
    line = pixels[used].reshape(-1, 1, 2).astype(np.int32)
    cv2.polylines(picture, [line], False, _CAMERA, 2, cv2.LINE_AA)
    for t in np.flatnonzero(~sequence.camera_ok):
        cv2.circle(picture, pixels[t].tolist(), 3, _UNREGISTERED, -1, cv2.LINE_AA)
    for t in used[[0, -1]] if len(used) else ():
        K, pose = sequence.intrinsics[t], sequence.cam2world[t]
        sides = (-K[0, 2] / K[0, 0], (sequence.size[1] - 1 - K[0, 2]) / K[0, 0])
        for side in sides:
            ray = pose[:3, :3] @ (side, 0, 1)
            end = sequence.cam2world[t, [0, 2], 3] + ray[[0, 2]] * 24 / scale
            cv2.line(picture, pixels[t].tolist(), at(end).tolist(), _CAMERA, 1, cv2.LINE_AA)
        cv2.circle(picture, pixels[t].tolist(), 4, _CAMERA, -1, cv2.LINE_AA)
    length = _round_length(120 / scale)
    height, text = picture.shape[0], f"{length:g}"
    cv2.line(
        picture, (12, height - 12), (12 + round(length * scale), height - 12), (230, 230, 230), 2
    )
    cv2.putText(
        picture,
        text,
        (12, height - 18),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        (230, 230, 230),
        1,
        cv2.LINE_AA,
    )


def _round_length(length: float) -> float:
    """1, 2 or 5 times a power of ten, at most `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(n for n in (1, 2, 5) if n * power <= length * 1.0001))
