"""Point clouds: accuracy (how far estimated points are from the truth) and completeness (the other way round)."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree


@dataclass(frozen=True)
class CloudErrors:
    """Distances to the nearest neighbour, in scene units."""

    accuracy: float
    """Mean, estimate to truth."""
    accuracy_median: float
    completeness: float
    """Mean, truth to estimate."""
    completeness_median: float


def cloud_errors(points: np.ndarray, truth: np.ndarray) -> CloudErrors:
    """Compare point sets (N, 3) and (M, 3) in one frame and scale."""
    if not len(points) or not len(truth):
        return CloudErrors(*[np.nan] * 4)
    to_truth = KDTree(truth).query(points)[0]
    to_points = KDTree(points).query(truth)[0]
    return CloudErrors(
        float(to_truth.mean()),
        float(np.median(to_truth)),
        float(to_points.mean()),
        float(np.median(to_points)),
    )
