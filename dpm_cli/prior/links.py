"""How the scales of a prior in different frames belong together, told by points that are seen in both.

A still or turning camera has no parallax to align a prior with, but what stands still keeps its distance: the prior's
depth of a point in one frame, carried by the cameras into the other, is to be that of the point there.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.prior.affine import ALIKE, median_of, robust_spread

_SIGMA = 0.01
"""Deviation of a link that many points cannot beat: errors of a prior are alike over a picture."""
_LEAST_POINTS = 20
_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Links:
    """K pairs of frames."""

    pairs: np.ndarray
    """(K, 2) int64."""
    difference: np.ndarray
    """(K,) log scale of the first frame less that of the second."""
    sigma: np.ndarray
    """(K,)."""


def link_frames(
    pairs: np.ndarray,
    log_inverse: np.ndarray,
    valid: np.ndarray,
    flow: np.ndarray,
    weight: np.ndarray,
    depth_ratio: np.ndarray,
    spacing: float,
) -> Links:
    """Links of E passes on a grid of h x w points.

    Args:
        pairs: (E, 2) frame numbers.
        log_inverse: (T, h, w) of the prior, up to each frame's scale.
        valid: (T, h, w) bool.
        flow: (E, h, w, 2) pixels from the first to the second frame.
        weight: (E, h, w) 0..1 seen in both and not moving by itself.
        depth_ratio: (E, h, w) log of depth in the second camera over that in the first, by the cameras.
        spacing: pixels between grid points.
    """
    rows, columns = np.mgrid[: log_inverse.shape[1], : log_inverse.shape[2]].astype(np.float32)
    found = []
    for (i, j), moved, w, ratio in zip(pairs, flow, weight, depth_ratio, strict=True):
        x, y = (columns + moved[..., 0] / spacing, rows + moved[..., 1] / spacing)
        there = _sample(np.where(valid[j], log_inverse[j], 0), x, y)
        seen = (_sample(valid[j].astype(np.float32), x, y) > 0.99) & valid[i] & (w > 0.25)
        if seen.sum() < _LEAST_POINTS:
            continue
        off = (there - log_inverse[i] + ratio)[seen]
        spread = robust_spread(off, w[seen])
        sigma = np.hypot(spread * np.sqrt(ALIKE / seen.sum()), _SIGMA)
        found.append((i, j, median_of(off, w[seen]), sigma))
    table = np.array(found, np.float64).reshape(-1, 4)
    return Links(table[:, :2].astype(np.int64), table[:, 2], table[:, 3])


def _sample(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(
        values.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def joint_scales(links: Links, own: np.ndarray, own_sigma: np.ndarray) -> np.ndarray:
    """Log scales (T,) that agree with what each frame says itself (T,), give or take, and with the links.

    Robust: links that contradict the others lose their weight.
    """
    frames = len(own)
    first, second = links.pairs.T
    precision = 1 / own_sigma**2
    robust, x = np.ones(len(first)), own.copy()
    for _ in range(_ROUNDS):
        w = robust / links.sigma**2
        normal = np.diag(precision)
        np.add.at(normal, (first, first), w)
        np.add.at(normal, (second, second), w)
        np.add.at(normal, (first, second), -w)
        np.add.at(normal, (second, first), -w)
        right = precision * own
        np.add.at(right, first, w * links.difference)
        np.add.at(right, second, -w * links.difference)
        x = np.linalg.solve(normal, right) if frames else own
        off = (x[first] - x[second] - links.difference) / links.sigma
        robust = 1 / (1 + (off / 3) ** 2) ** 2
    return x
