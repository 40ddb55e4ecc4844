"""Correspondences between two images: mutual nearest neighbours in 3D between their maps of the same time.

P_1(t)(u_1) = P_2(t)(u_2) for matching pixels at either t, also on movers (paper, section 3.1).
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Correspondences:
    """M matches of one image pair."""

    pixels_1: np.ndarray
    """(M, 2) float32 (x, y) in image 1."""
    pixels_2: np.ndarray
    """(M, 2) float32 in image 2."""
    distance: np.ndarray
    """(M,) float32 between the two points, in units of the maps."""
    confidence: np.ndarray
    """(M,) float32, the smaller of both points'."""


def mutual_matches(
    points_1: Tensor,
    points_2: Tensor,
    confidence_1: Tensor,
    confidence_2: Tensor,
    valid_1: Tensor,
    valid_2: Tensor,
    *,
    stride: int = 1,
    max_distance: float = 0.02,
) -> Correspondences:
    """Mutual nearest neighbours of two point maps of the same time and frame.

    Args:
        points_1: (H, W, 3), P_1(t).
        points_2: (H, W, 3), P_2(t).
        confidence_1: (H, W).
        confidence_2: (H, W).
        valid_1: (H, W) bool.
        valid_2: (H, W) bool.
        stride: take every n-th pixel of image 1; image 2 is searched at full resolution.
        max_distance: relative to the point's distance from the frame's origin; farther neighbours are no match.
    """
    rows_1, cols_1, p1 = _flat(points_1, valid_1, stride)
    rows_2, cols_2, p2 = _flat(points_2, valid_2, 1)
    if len(p1) == 0 or len(p2) == 0:
        nothing = np.zeros((0, 2), np.float32)
        return Correspondences(nothing, nothing, nothing[:, 0], nothing[:, 0])
    distance, nearest = _nearest(p1, p2)
    used, slot = np.unique(nearest, return_inverse=True)
    _, back = _nearest(p2[used], p1)
    keep = back[slot] == np.arange(len(p1))
    keep &= distance <= max_distance * np.linalg.norm(p1, axis=1)
    chosen = nearest[keep]
    c1 = confidence_1.cpu().numpy()[rows_1[keep], cols_1[keep]]
    c2 = confidence_2.cpu().numpy()[rows_2[chosen], cols_2[chosen]]
    return Correspondences(
        np.stack((cols_1[keep], rows_1[keep]), -1).astype(np.float32),
        np.stack((cols_2[chosen], rows_2[chosen]), -1).astype(np.float32),
        distance[keep].astype(np.float32),
        np.minimum(c1, c2).astype(np.float32),
    )


def _nearest(query: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,) to, and index (N,) of, the nearest of `points` for each of `query` (N, 3)."""
    distance, index = KDTree(points).query(query, workers=-1)
    return np.asarray(distance), np.asarray(index)


def _flat(points: Tensor, valid: Tensor, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid = np.zeros(tuple(valid.shape), bool)
    grid[::stride, ::stride] = True
    rows, cols = np.nonzero(valid.cpu().numpy() & grid)
    return rows, cols, points.cpu().numpy()[rows, cols]
