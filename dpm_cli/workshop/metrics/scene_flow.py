"""Errors of 3D motion, in the world's frame or the moving camera's.

World frame: where the point goes, the camera's own motion taken out (DPM's "object flow" as far as its magnitudes
tell). Camera frame: the same plus what the camera's motion does to the point's coordinates (what RAFT-3D outputs).
The paper leaves open which one its table 4 used, so both are reported.
"""

from dataclasses import dataclass

import numpy as np

from dpm_cli.geometry.vectors import length


@dataclass(frozen=True)
class SceneFlowErrors:
    """Errors over the valid points; lengths in the unit of the input."""

    epe: float
    """Mean length of the error."""
    acc_strict: float
    """Fraction with error < 0.05 units or < 5 % of the true length (FlowNet3D's AccS)."""
    acc_relaxed: float
    """Fraction with error < 0.1 units or < 10 % (AccR)."""
    size_ratio: float
    """Mean error / mean true length: 1 = no better than saying that nothing moves."""


def scene_flow_errors(flow: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> SceneFlowErrors:
    """Compare displacements (..., 3) where `valid` (...)."""
    error = length(flow[valid].astype(np.float64) - truth[valid])
    size = length(truth[valid].astype(np.float64))
    if not error.size:
        return SceneFlowErrors(*[np.nan] * 4)
    relative = error / np.maximum(size, 1e-12)
    mean_length = float(size.mean())
    return SceneFlowErrors(
        epe=float(error.mean()),
        acc_strict=float(((error < 0.05) | (relative < 0.05)).mean()),
        acc_relaxed=float(((error < 0.1) | (relative < 0.1)).mean()),
        size_ratio=float(error.mean() / mean_length) if mean_length > 0 else np.nan,
    )


def camera_frame_flow(now: np.ndarray, later: np.ndarray, later_from_now: np.ndarray) -> np.ndarray:
    """P(t_2, pi_2) - P(t_1, pi_1) (..., 3): the point's coordinates in the camera of its time, later minus now.

    `now`, `later` (..., 3) are the point at both times in the first camera's frame, `later_from_now` (4, 4) maps the
    first camera's frame to the second's.
    """
    return later @ later_from_now[:3, :3].T + later_from_now[:3, 3] - now
