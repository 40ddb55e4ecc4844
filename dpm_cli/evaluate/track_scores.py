"""3D tracks of points seen in the first frame, followed through a reconstructed sequence, against true tracks.

Two protocols (paper section 5.9). World: everything in the first camera's frame, one scale from the median distances,
APD over 0.1, 0.3, 0.5 and 1 m. Camera: each frame's own camera, APD within what 1 to 16 pixels are worth (TAPVid-3D).
"""

import numpy as np
from scipy.ndimage import map_coordinates

from dpm_cli.evaluate.matched import MatchedSequence
from dpm_cli.metrics.masked import length
from dpm_cli.metrics.tracks import apd, pixel_thresholds, track_epe
from dpm_cli.sequence import Sequence4D

MOVING = 0.01
"""A track is dynamic if its length adds up to more than this (metres)."""


def score_tracks(matched: MatchedSequence) -> dict[str, float]:
    """Errors of all tracks that are visible in the first judged frame and inside the image."""
    truth = matched.truth.tracks
    if truth is None:
        return {}
    frames = matched.frames
    start = int(frames[0])
    followed = truth.visible[start] & truth.valid[start]
    if not followed.any():
        return {}
    working_from_source = np.linalg.inv(matched.result.source_from_working)
    pixels = (
        truth.pixels[start, followed] @ working_from_source[:2, :2].T + working_from_source[:2, 2]
    )
    points = follow(matched.result, pixels)
    wanted, counted = truth.points[frames][:, followed], truth.valid[frames][:, followed]
    in_camera = _into(np.linalg.inv(matched.result.cam2world), points)
    exact_camera = wanted
    values: dict[str, float] = {}
    if matched.truth.cam2world is not None:
        poses = matched.truth.cam2world[frames]
        exact_camera = _into(np.linalg.inv(poses), wanted)
        wanted = _into(np.linalg.inv(poses[:1]).repeat(len(frames), 0), wanted)
        points = _into(np.linalg.inv(matched.result.cam2world[:1]).repeat(len(frames), 0), points)
        points = points * _scale(points, wanted, counted)
        values = {
            "track_epe": track_epe(points, wanted, counted),
            "apd": apd(points, wanted, counted),
        }
        steps = np.where(counted[1:] & counted[:-1], length(np.diff(wanted, axis=0)), 0)
        dynamic = counted & (steps.sum(0) > MOVING)
        values["apd_dynamic"] = apd(points, wanted, dynamic)
    if matched.truth.intrinsics is not None:
        focal = float(matched.truth.intrinsics[start, 0, 0])
        limits = pixel_thresholds(exact_camera, focal)
        values["apd_camera"] = apd(
            in_camera * _scale(in_camera, exact_camera, counted), exact_camera, counted, limits
        )
    return values


def follow(result: Sequence4D, pixels: np.ndarray) -> np.ndarray:
    """World points (T, N, 3) of working pixels (N, 2) of the first frame, at each frame.

    Where the flow says that a point is seen in the next frame, that frame's depth says where it is; else it goes on by
    its scene flow, and its pixel by the optical flow.
    """
    points = [_read(result, 0, "points", pixels)]
    for t in range(len(result) - 1):
        onwards = points[-1] + _read(result, t, "scene_flow_fwd", pixels)
        seen = _read(result, t, "flow_fwd_valid", pixels)[:, 0] > 0.5
        pixels = pixels + _read(result, t, "flow_fwd", pixels)
        points.append(np.where(seen[:, None], _read(result, t + 1, "points", pixels), onwards))
    return np.stack(points)


def _read(result: Sequence4D, t: int, key: str, pixels: np.ndarray) -> np.ndarray:
    """Values (N, C) of a map of frame `t` between its pixels; the border's beyond the image."""
    values = result.read(t, key)
    assert values is not None
    channels = values.reshape(*values.shape[:2], -1).astype(np.float64)
    where = pixels.T[::-1]
    sampled = [
        map_coordinates(channels[..., c], where, order=1, mode="nearest")
        for c in range(channels.shape[-1])
    ]
    return np.stack(sampled, -1)


def _into(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply transforms (T, 4, 4) to points (T, N, 3)."""
    return np.einsum("tij,tnj->tni", transforms[:, :3, :3], points) + transforms[:, None, :3, 3]


def _scale(points: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """Ratio of the median distances to the origin."""
    return float(
        np.median(length(truth)[counted]) / max(float(np.median(length(points)[counted])), 1e-12)
    )
