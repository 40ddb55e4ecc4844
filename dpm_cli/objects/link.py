"""Which region of a frame is which object: by where optical flow takes the pixels of the frame before, both ways."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from dpm_cli.sequence import FrameResult

_SAME = 0.25
"""Share of the union of both, after the flow, from which two regions are one object."""


def overlap(before: np.ndarray, after: np.ndarray, frame: FrameResult) -> np.ndarray:
    """Intersection over union (N, M) of regions of `frame` (labels 1 to N), moved by its flow, and of the next (M)."""
    assert frame.flow_fwd is not None
    height, width = before.shape
    rows, columns = np.nonzero(before)
    flow = frame.flow_fwd[rows, columns]
    x, y = np.rint(columns + flow[:, 0]), np.rint(rows + flow[:, 1])
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    source = before[rows, columns][inside]
    landed = after[y[inside].astype(int), x[inside].astype(int)]
    counts = np.zeros((before.max() + 1, after.max() + 1))
    np.add.at(counts, (source, landed), 1)
    # What leaves the picture says nothing.
    union = counts.sum(1)[:, None] + np.bincount(after.ravel(), minlength=counts.shape[1]) - counts
    return counts[1:, 1:] / np.maximum(union[1:, 1:], 1)


def matched(shares: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of the assignment with the largest overlap in all, those that are one object."""
    pairs = zip(*linear_sum_assignment(-shares), strict=True)
    return [(int(n), int(m)) for n, m in pairs if shares[n, m] >= _SAME]
