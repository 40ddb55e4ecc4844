"""A start for dense flow where the motion is too large for it: sparse feature matches, spread over the picture.

DIS finds by gradient descent from a coarse level what moves by less than about a tenth of the picture; beyond it can be
lost altogether. SIFT features (Lowe, IJCV 2004; square-rooted as in Arandjelovic and Zisserman, CVPR 2012) find it at
any distance. Matches whose neighbours move elsewhere are dropped, so movers stay and chance matches go.
"""

import cv2
import numpy as np
from scipy.spatial import KDTree

FEATURES = 2000
_RATIO = 0.8
"""Lowe's ratio: distance to the best over distance to the second best."""
_NEIGHBOURS, _AGREEING = 10, 3
"""Of a match's nearest neighbours so many must move alike."""
_ENOUGH = 12
"""Matches below which there is no start."""
_GRID = 8
"""Pixels between the points that the start is computed at."""


def flow_starts(image_1: np.ndarray, image_2: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Start of the flow (H, W, 2) float32 from image 1 to 2 and from 2 to 1, both (H, W) uint8; None if unknown."""
    found = [_features(i) for i in (image_1, image_2)]
    if min(len(points) for points, _ in found) < _ENOUGH:
        return None
    (points_1, words_1), (points_2, words_2) = found
    first, second = _mutual(words_1, words_2)
    source, target = points_1[first], points_2[second]
    kept = _supported(source, target)
    if kept.sum() < _ENOUGH:
        return None
    source, target = source[kept], target[kept]
    return _spread(source, target, image_1.shape), _spread(target, source, image_1.shape)


def _features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2) and unit descriptors (N, 128)."""
    detector = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.01)
    keys, words = detector.detectAndCompute(image, None)  # pyright: ignore
    if words is None or not len(keys):
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    total = words.sum(1, keepdims=True)
    return np.array([k.pt for k in keys]), np.sqrt(words / np.maximum(total, 1e-9))


def _mutual(words_1: np.ndarray, words_2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of descriptors that are each other's nearest and clearly nearer than the next."""
    alike = words_1 @ words_2.T
    forward, back = alike.argmax(1), alike.argmax(0)
    best, next_best = -np.sort(-np.partition(alike, -2, axis=1)[:, -2:], axis=1).T
    clear = 1 - best < _RATIO**2 * (1 - next_best)
    first = np.flatnonzero((back[forward] == np.arange(len(forward))) & clear)
    return first, forward[first]


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


def _spread(source: np.ndarray, target: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Flow (H, W, 2): mean of the nearest four matches by inverse squared distance, on a grid, then enlarged."""
    height, width = size[:2]
    grid = np.mgrid[0 : height + _GRID : _GRID, 0 : width + _GRID : _GRID].astype(float)
    distance, near = KDTree(source).query(grid[::-1].reshape(2, -1).T, 4)
    weight = 1 / (distance + 2) ** 2
    flow = (weight[..., None] * (target - source)[near]).sum(1) / weight.sum(1, keepdims=True)
    flow = flow.reshape(*grid.shape[1:], 2).astype(np.float32)
    scale = np.array([[1 / _GRID, 0, 0], [0, 1 / _GRID, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        flow, scale, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
