"""The moving pixels of one frame in connected regions that end where depth or optical flow jumps."""

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dpm_cli.sequence import FrameResult

_DEPTH_JUMP = 0.06
"""Difference of log depth between neighbouring pixels from which they are not one surface."""
_FLOW_JUMP_PX = 0.5
"""Difference of optical flow between neighbouring pixels from which they do not move together."""
_SMALLEST_SHARE = 0.0015
"""Of the picture: smaller regions are taken for noise."""
_REACH_PX = 9
"""How far a region takes back the moving pixels around it that were cut off with an edge."""


def moving_regions(frame: FrameResult, motion_threshold: float) -> np.ndarray:
    """Labels (H, W) int32: 1, 2, ... from the largest region on, 0 elsewhere."""
    moving = frame.valid & (frame.dynamic > motion_threshold)
    labels = _components(moving, _joined(frame))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    smallest = _SMALLEST_SHARE * moving.size
    order = [n for n in np.argsort(-sizes, kind="stable") if sizes[n] >= smallest]
    rank = np.zeros(len(sizes), np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    return _grown(rank[labels], moving)


def _joined(frame: FrameResult) -> list[np.ndarray]:
    """Whether pixels belong together with that to the right (H, W - 1) and that below (H - 1, W)."""
    log_depth = np.log(np.maximum(frame.depth, 1e-9))
    flow = frame.flow_fwd if frame.flow_fwd is not None else frame.flow_bwd
    joined = []
    for axis in (1, 0):
        together = np.abs(np.diff(log_depth, axis=axis)) < _DEPTH_JUMP
        if flow is not None:
            together &= np.linalg.norm(np.diff(flow, axis=axis), axis=-1) < _FLOW_JUMP_PX
        joined.append(together)
    return joined


def _components(moving: np.ndarray, joined: list[np.ndarray]) -> np.ndarray:
    """Labels (H, W) of connected moving pixels from 1, 0 where nothing moves."""
    number = np.arange(moving.size).reshape(moving.shape)
    right, below = joined
    right = right & moving[:, 1:] & moving[:, :-1]
    below = below & moving[1:] & moving[:-1]
    start = np.concatenate((number[:, :-1][right], number[:-1][below]))
    end = np.concatenate((number[:, 1:][right], number[1:][below]))
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(moving.size,) * 2)
    labels = connected_components(graph, directed=False)[1].reshape(moving.shape) + 1
    return np.where(moving, labels, 0)


def _grown(labels: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Labels with moving pixels near a region added to the nearest one."""
    if not labels.any():
        return labels
    distance, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_pixel = np.zeros(int(nearest.max()) + 1, np.int32)
    of_pixel[nearest[labels > 0]] = labels[labels > 0]
    return np.where(moving & (distance <= _REACH_PX), of_pixel[nearest], labels)
