"""3D tracks of points seen in the first frame, followed through a reconstructed sequence, against true tracks.

Two protocols. World (WorldTrack): everything in the first camera's frame, one scale from the median distances,
APD over 0.1, 0.3, 0.5 and 1 m. Camera: each frame's own camera, APD within what 1 to 16 pixels are worth (TAPVid-3D).
"""

import numpy as np

from dpm_cli.geometry.vectors import length
from dpm_cli.tracking import track
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.metrics.tracks import apd, pixel_thresholds, track_epe

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
    points = track(matched.result, 0, pixels).points
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


def _into(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply transforms (T, 4, 4) to points (T, N, 3)."""
    return np.einsum("tij,tnj->tni", transforms[:, :3, :3], points) + transforms[:, None, :3, 3]


def _scale(points: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """Ratio of the median distances to the origin."""
    return float(
        np.median(length(truth)[counted]) / max(float(np.median(length(points)[counted])), 1e-12)
    )
