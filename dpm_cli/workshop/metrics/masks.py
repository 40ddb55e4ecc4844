"""Motion masks: region similarity J (intersection over union) and boundary accuracy F of the DAVIS benchmark."""

import numpy as np
from scipy.ndimage import distance_transform_edt

BOUNDARY_TOLERANCE = 0.008
"""DAVIS: a boundary pixel is found if the other boundary is within this part of the image diagonal."""


def iou(mask: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> float:
    """Intersection over union of boolean masks of one shape, over the `known` pixels; 1 if both are empty."""
    if known is not None:
        mask, truth = mask & known, truth & known
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


def boundary_f(mask: np.ndarray, truth: np.ndarray, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F measure of the boundaries of masks (H, W): harmonic mean of precision and recall within `tolerance`."""
    found, wanted = boundary(mask), boundary(truth)
    if not found.any() or not wanted.any():
        return float(not found.any() and not wanted.any())
    radius = np.ceil(tolerance * np.hypot(*truth.shape))
    precision = float((np.asarray(distance_transform_edt(~wanted))[found] <= radius).mean())
    recall = float((np.asarray(distance_transform_edt(~found))[wanted] <= radius).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool whose right, lower or lower right neighbour has the other label (as DAVIS draws it)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    centre = padded[:-1, :-1]
    return (centre != padded[:-1, 1:]) | (centre != padded[1:, :-1]) | (centre != padded[1:, 1:])
