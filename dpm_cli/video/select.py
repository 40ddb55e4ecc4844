"""Which frames are taken, and at which size they are worked on."""

import numpy as np

from dpm_cli.errors import InputError, UsageError


def select_frames(
    timestamps: np.ndarray,
    *,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
) -> np.ndarray:
    """Sorted indices (N,) int64 of the frames to use; `timestamps` (T,) are seconds, ascending.

    `start` and `end` are seconds in the source, both included. `fps` takes the frame nearest to every 1/fps from the
    first one on and never a frame twice, so a rate above the video's gives every frame. `stride` takes every n-th.

    Raises:
        UsageError: fps and stride together, or values that mean nothing.
        InputError: no frame is left.
    """
    if fps is not None and stride != 1:
        raise UsageError("--fps and --stride exclude each other: give one of them")
    if stride < 1 or (fps is not None and fps <= 0) or (max_frames is not None and max_frames < 1):
        raise UsageError("--stride, --fps and --max-frames must be positive")
    keep = np.ones(len(timestamps), bool)
    if start is not None:
        keep &= timestamps >= start - 1e-6
    if end is not None:
        keep &= timestamps <= end + 1e-6
    indices = np.flatnonzero(keep)
    if not len(indices):
        raise InputError(
            f"no frame between --start and --end: the video runs from {timestamps[0]:.3f} s "
            f"to {timestamps[-1]:.3f} s"
        )
    taken = indices[_nearest(timestamps[indices], fps)] if fps is not None else indices[::stride]
    return taken[:max_frames].astype(np.int64)


def _nearest(times: np.ndarray, fps: float) -> np.ndarray:
    """Indices of the frames nearest to times[0] + k / fps, each once."""
    count = int(np.floor((times[-1] - times[0]) * fps + 1e-6)) + 1
    grid = times[0] + np.arange(count) / fps
    right = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
    right = np.minimum(right, len(times) - 1)
    left = np.maximum(right - 1, 0)
    return np.unique(np.where(grid - times[left] <= times[right] - grid, left, right))


def working_size(
    source_size: tuple[int, int], long_side: int, multiple: int = 1, pixel_aspect: float = 1.0
) -> tuple[int, int]:
    """(height, width) of the working images: the longer side is `long_side`, never more than the source has.

    Both sides are rounded to `multiple`; nothing is cropped, the two scales differ by the rounding alone. Pixels
    that are not square in the source (`pixel_aspect` = width / height) are square in the working images.
    """
    height, width = float(source_size[0]), source_size[1] * pixel_aspect
    scale = min(1.0, long_side / max(height, width))
    rounded = [max(1, round(side * scale / multiple)) * multiple for side in (height, width)]
    return rounded[0], rounded[1]
