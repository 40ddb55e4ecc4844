"""Errors of camera trajectories and of rigid motions; trajectories come in already aligned by Sim(3).

The protocol is MonST3R's, by way of evo: ATE = RMSE of positions after Umeyama with scale; RPE over neighbouring
frames, translation in scene units and rotation in degrees, both as RMSE.
"""

from dataclasses import dataclass

import numpy as np

from dpm_cli.geometry.vectors import length


@dataclass(frozen=True)
class RelativePoseErrors:
    """RMSE over all pairs (i, i + delta)."""

    translation: float
    """Scene units."""
    rotation_deg: float


def ate(cam2world: np.ndarray, truth: np.ndarray) -> float:
    """Absolute trajectory error in scene units: RMSE of camera centres of aligned poses (T, 4, 4)."""
    return float(np.sqrt(((cam2world[:, :3, 3] - truth[:, :3, 3]) ** 2).sum(-1).mean()))


def rpe(cam2world: np.ndarray, truth: np.ndarray, delta: int = 1) -> RelativePoseErrors:
    """Relative pose error of aligned poses (T, 4, 4) over `delta` frames."""
    if len(truth) <= delta:
        return RelativePoseErrors(np.nan, np.nan)
    moved, moved_truth = (np.linalg.inv(p[:-delta]) @ p[delta:] for p in (cam2world, truth))
    rotation_deg, translation = pose_errors(moved, moved_truth)
    return RelativePoseErrors(
        float(np.sqrt((translation**2).mean())), float(np.sqrt((rotation_deg**2).mean()))
    )


def pose_errors(poses: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation in degrees (N,) and length of translation (N,) of inverse(truth) @ poses, both (N, 4, 4)."""
    error = np.linalg.inv(truth) @ poses
    return rotation_angle_deg(error[:, :3, :3]), length(error[:, :3, 3])


def rotation_angle_deg(rotation: np.ndarray) -> np.ndarray:
    """Angle (...) in degrees of rotations (..., 3, 3), accurate near 0 and near 180."""
    skew = np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    trace = np.trace(rotation, axis1=-2, axis2=-1)
    return np.degrees(np.arctan2(length(skew), trace - 1))


def direction_error_deg(translation: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Angle (N,) in degrees between translations (N, 3): all that a pair without scale can say."""
    cross = length(np.cross(translation, truth))
    return np.degrees(np.arctan2(cross, (translation * truth).sum(-1)))


def object_motion_errors(
    motion: np.ndarray, truth: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation in degrees (N,) and displacement of the object's centre (N,) in scene units.

    `motion`, `truth` (N, 4, 4) move the object from t_1 to t_2 in one fixed frame; `centre` (N, 3) is where the
    object is at t_1. Taking the translation at the centre keeps a rotation error from being multiplied by the
    object's distance to the origin.
    """
    rotation_deg, _ = pose_errors(motion, truth)
    moved, moved_truth = (
        np.einsum("nij,nj->ni", M[:, :3, :3], centre) + M[:, :3, 3] for M in (motion, truth)
    )
    return rotation_deg, length(moved - moved_truth)
