"""Point clouds: accuracy (how far estimated points are from the truth) and completeness (the other way round)."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree


@dataclass(frozen=True)
class CloudErrors:
    """Distances to the nearest neighbour, in scene units."""

    accuracy: float
    """Median, estimate to truth."""
    completeness: float
    """Median, truth to estimate."""


def cloud_errors(points: np.ndarray, truth: np.ndarray) -> CloudErrors:
    """Compare point sets (N, 3) and (M, 3) in one frame and scale."""
    if not len(points) or not len(truth):
        return CloudErrors(np.nan, np.nan)
    to_truth = KDTree(truth).query(points)[0]
    to_points = KDTree(points).query(truth)[0]
    return CloudErrors(float(np.median(to_truth)), float(np.median(to_points)))
