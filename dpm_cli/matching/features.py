"""Sparse feature matches: a start for dense flow where the motion is too large for it.

Dense search finds by gradient descent from a coarse level what moves by less than about a tenth of the picture. SIFT
features (Lowe, IJCV 2004; square-rooted as in Arandjelovic and Zisserman, CVPR 2012) find it at any distance. Matches
whose neighbours move elsewhere are dropped, so movers stay and chance matches go.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import KDTree

FEATURES = 4000
"""Features of one image at one scale, at most."""
SCALES = (1.0, 0.5)
_CONTRAST = 0.01
_RATIO = 0.8
"""Lowe's ratio: distance to the best over distance to the second best."""
_NEIGHBOURS, _AGREEING = 10, 3
"""Of a match's nearest neighbours so many must move alike."""
_ENOUGH = 12
"""Matches below which there is no start."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one image at one scale."""

    points: np.ndarray
    """(N, 2) float32 x, y in pixels of the full image."""
    words: np.ndarray
    """(N, 128) float32 unit descriptors."""


@dataclass(frozen=True, eq=False)
class SparseMatches:
    """M matches between two images, pixels x, y."""

    source: np.ndarray
    """(M, 2) float32 in image 1."""
    target: np.ndarray
    """(M, 2) float32 in image 2."""


def find_features(grey: np.ndarray) -> list[Features]:
    """Features of an image (H, W) uint8 at every scale of `SCALES`."""
    return [_features(grey, scale) for scale in SCALES]


def match_features(first: list[Features], second: list[Features]) -> SparseMatches | None:
    """Mutual, clear and supported matches of both scales; None where there are too few to start from."""
    parts = [_mutual(a, b) for a, b in zip(first, second, strict=True)]
    source = np.concatenate([a.points[i] for a, (i, _) in zip(first, parts, strict=True)])
    target = np.concatenate([b.points[j] for b, (_, j) in zip(second, parts, strict=True)])
    kept = _supported(source, target)
    if kept.sum() < _ENOUGH:
        return None
    return SparseMatches(source[kept], target[kept])


def _features(grey: np.ndarray, scale: float) -> Features:
    image = grey
    if scale != 1:
        image = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    detector = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=_CONTRAST)
    keys, words = detector.detectAndCompute(image, None)  # pyright: ignore
    if words is None or not len(keys):
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    total = words.sum(1, keepdims=True)
    points = (np.array([k.pt for k in keys], np.float32) + 0.5) / scale - 0.5
    return Features(points, np.sqrt(words / np.maximum(total, 1e-9)).astype(np.float32))


def _mutual(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """Indices of descriptors that are each other's nearest and clearly nearer than the next."""
    if min(len(first.words), len(second.words)) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    alike = first.words @ second.words.T
    forward, back = alike.argmax(1), alike.argmax(0)
    two = np.partition(alike, -2, axis=1)[:, -2:]
    clear = 1 - two.max(1) < _RATIO**2 * (1 - two.min(1))
    source = np.flatnonzero((back[forward] == np.arange(len(forward))) & clear)
    return source, forward[source]


def _supported(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Matches (N,) of which some neighbours move alike: to 3 px, a tenth of the way, a quarter of their distance."""
    if len(source) <= _NEIGHBOURS:
        return np.zeros(len(source), bool)
    step = target - source
    distance, near = KDTree(source).query(source, _NEIGHBOURS + 1)
    distance, near = np.asarray(distance)[:, 1:], np.asarray(near)[:, 1:]
    allowed = 3 + 0.1 * np.linalg.norm(step, axis=1)[:, None] + 0.25 * distance
    alike = np.linalg.norm(step[near] - step[:, None], axis=-1) < allowed
    return alike.sum(1) >= _AGREEING
