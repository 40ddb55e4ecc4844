"""What the manifest says of a run's quality, read off its frames, so that it holds at the threshold in force."""

from dataclasses import replace

import numpy as np

from dpm_cli.matching.consistency import comes_back
from dpm_cli.sequence import FrameResult, Sequence4D

_UNEXPLAINED, _UNEXPLAINED_PX = 0.5, 1.0
"""Share of the picture's motion, and pixels, that a world that stands still may miss before that is said."""
_LEFT, _LEFT_PX, _FLOW_ERRORS = 0.1, 0.4, 6.0
"""Share of the motion, pixels, and multiple of what the flow errs by, that it may miss if not all three say so: a good
run misses by 3 to 4 times the flow's own error, one of parts that move each its own way by 10 and more."""


def run_quality(sequence: Sequence4D) -> dict[str, float]:
    """Medians and shares over the frames; see the keys in the README."""
    residuals, confident, moving, missed, lengths, errors = [], [], [], [], [], []
    for t in range(len(sequence)):
        frame = sequence.frame(t)
        if not frame.valid.any():
            continue
        sure = frame.confidence[frame.valid]
        confident.append(float(np.median(sure)))
        moving.append(float((frame.dynamic > sequence.motion_threshold).mean()))
        if (
            t + 1 < len(sequence)
            and sequence.shot[t + 1] == sequence.shot[t]
            and sequence.camera_ok[t + 1]
        ):
            points = frame.points(sequence.cam2world[t], sequence.intrinsics[t])
            next_camera = sequence.cam2world[t + 1], sequence.intrinsics[t + 1]
            assert frame.flow_fwd is not None
            residuals.append(flow_residual_px(frame, *next_camera, points))
            still = replace(frame, scene_flow_fwd=np.zeros_like(points))
            missed.append(flow_residual_px(still, *next_camera, points))
            lengths.append(float(np.median(np.linalg.norm(frame.flow_fwd, axis=-1))))
            back = sequence.frame(t + 1).flow_bwd
            assert back is not None
            errors.append(float(np.median(comes_back(frame.flow_fwd, back)[0])))
    return {
        "flow_residual_px": float(np.median(residuals)) if residuals else 0.0,
        "median_confidence": float(np.median(confident)) if confident else 0.0,
        "moving_share": float(np.mean(moving)) if moving else 0.0,
        "still_residual_px": float(np.median(missed)) if missed else 0.0,
        "flow_px": float(np.median(lengths)) if lengths else 0.0,
        "flow_error_px": float(np.median(errors)) if errors else 0.0,
    }


def unexplained(quality: dict[str, float]) -> str | None:
    """What to say where cameras, depth and a world that stands still do not explain the pictures' motion."""
    missed, length = quality["still_residual_px"], quality["flow_px"]
    far_off = missed > max(_UNEXPLAINED_PX, _UNEXPLAINED * length)
    allowed = max(_LEFT_PX, _LEFT * length, _FLOW_ERRORS * quality["flow_error_px"])
    if not far_off and missed <= allowed:
        return None
    return (
        f"cameras and depth miss the pictures' motion of {length:.1f} px by {missed:.1f} px: "
        "most of what is seen moves by itself, or the cameras are wrong"
    )


def flow_residual_px(
    frame: FrameResult, next_frame: np.ndarray, K: np.ndarray, points: np.ndarray
) -> float:
    """Median distance in pixels between project(points + scene flow, next camera) and pixel + flow.

    Args:
        frame: the frame, with forward motion.
        next_frame: (4, 4) cam2world of the next frame.
        K: (3, 3) of the next frame.
        points: (H, W, 3) world points of the frame.
    """
    assert frame.scene_flow_fwd is not None
    assert frame.flow_fwd is not None
    moved = points + frame.scene_flow_fwd
    camera = (moved - next_frame[:3, 3]) @ next_frame[:3, :3]
    z = np.maximum(camera[..., 2:], 1e-6)
    pixels = (camera[..., :2] / z) * K[[0, 1], [0, 1]] + K[:2, 2]
    y, x = np.mgrid[: points.shape[0], : points.shape[1]]
    target = np.stack((x, y), -1) + frame.flow_fwd
    ok = frame.valid & (frame.flow_fwd_valid if frame.flow_fwd_valid is not None else True)
    return float(np.median(np.linalg.norm(pixels - target, axis=-1)[ok])) if ok.any() else 0.0
