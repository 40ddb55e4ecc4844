"""Long clips as overlapping windows, joined by the frames that two neighbours both have seen (V-DPM section 4.3).

A frame's points at its own time are the same scene in both windows, so a robust similarity between the two maps,
pixel by pixel, gives scale, rotation and place of the later window; moving pixels count too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpm_cli.errors import UsageError
from dpm_cli.geometry.procrustes import fit_robust
from dpm_cli.geometry.similarity import apply_to_cameras
from dpm_cli.structures import WindowPrediction

GRID = 8
"""Every so many pixels a match; a fit needs no more."""


def plan_windows(frames: int, size: int, overlap: int) -> list[range]:
    """Consecutive windows of `size` frames that share `overlap`; the last is moved back so that it is full."""
    if not 0 < overlap < size:
        raise UsageError(f"windows of {size} frames cannot overlap by {overlap}")
    if frames <= size:
        return [range(frames)]
    starts = [*range(0, frames - size, size - overlap), frames - size]
    return [range(start, start + size) for start in starts]


def join_windows(spans: Sequence[range], windows: Sequence[WindowPrediction]) -> Tensor:
    """Similarities (N, 4, 4) float64 from each window's frame to the first window's.

    Args:
        spans: frames of the clip that each window covers, each overlapping the one before.
        windows: predictions with every frame at its own time on the diagonal, points (S, S, H, W, 3), or only
            that diagonal, points (1, S, H, W, 3).
    """
    joined = [torch.eye(4, dtype=torch.float64)]
    for before, after, span_before, span_after in zip(
        windows[:-1], windows[1:], spans[:-1], spans[1:], strict=True
    ):
        shared = range(span_after.start, span_before.stop)
        source, weight_source = _own_time(after, shared, span_after)
        target, weight_target = _own_time(before, shared, span_before)
        step = fit_robust(
            source, target, torch.minimum(weight_source, weight_target), scale="symmetric"
        )
        joined.append(joined[-1] @ step.target_from_source)
    return torch.stack(joined)


def joined_cameras(
    spans: Sequence[range], windows: Sequence[WindowPrediction], world_from_window: Tensor
) -> Tensor:
    """cam2world (T, 4, 4) float64 of the whole clip; a shared frame takes the earlier window's camera."""
    cameras: dict[int, Tensor] = {}
    for span, window, similarity in zip(spans, windows, world_from_window, strict=True):
        moved = apply_to_cameras(similarity, window.cam2world.double())
        for frame, camera in zip(span, moved, strict=True):
            cameras.setdefault(frame, camera)
    return torch.stack([cameras[frame] for frame in sorted(cameras)])


def _own_time(window: WindowPrediction, frames: range, span: range) -> tuple[Tensor, Tensor]:
    """Points (M, 3) and confidence (M,) of `frames` at their own times, on a coarse grid."""
    rows = torch.arange(frames.start - span.start, frames.stop - span.start)
    times = rows if window.points.shape[0] > 1 else torch.zeros_like(rows)
    points = window.points[times, rows, ::GRID, ::GRID].double()
    confidence = window.confidence[times, rows, ::GRID, ::GRID].double()
    return points.reshape(-1, 3), confidence.reshape(-1)
