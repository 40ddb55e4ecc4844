"""The pair graph before any optimisation: connected parts, agreement of passes around triangles, first poses."""

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from dpm_cli.geometry.rigid import invert, so3_angle

_MAX_TRIANGLES = 200_000
_UNTESTED = 0.3
"""Reliability of a pass that no triangle tests: better than a contradicted one, worse than a confirmed one."""


def connected_parts(pairs: np.ndarray, frames: int) -> np.ndarray:
    """Number of the connected part of each frame (T,) int64, in order of each part's first frame."""
    ones = np.ones(len(pairs))
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(frames, frames))
    labels = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def triangle_agreement(
    pairs: np.ndarray, cam2_from_cam1: np.ndarray, frames: int, seed: int = 0
) -> np.ndarray:
    """How well each pass closes the triangles it is in, (E,) in 0..1, from rotation and translation.

    Around a triangle (i, j, k) the measured poses must compose to the identity. Errors are judged against the median
    error of all triangles, so no noise level is assumed. Translations must be in one scale already. At most 200,000
    triangles are tried, drawn with `seed`.
    """
    low, high, pose = _ascending(pairs, cam2_from_cam1)
    a, b, c = _triangles(low, high, frames, seed)
    if not len(a):
        return np.full(len(pairs), _UNTESTED)
    loop = torch.from_numpy(pose[b] @ pose[a] @ invert(torch.from_numpy(pose[c])).numpy())
    turn = so3_angle(loop[:, :3, :3]).numpy()
    length = sum(np.linalg.norm(pose[e][:, :3, 3], axis=1) for e in (a, b, c))
    shift = loop[:, :3, 3].norm(dim=-1).numpy() / np.maximum(length, np.median(length) / 10 + 1e-12)
    error = _relative(turn) ** 2 + _relative(shift) ** 2
    agreement = 1 / (1 + error / 4)
    total, count = np.full(len(pairs), _UNTESTED), np.ones(len(pairs))
    for e in (a, b, c):
        np.add.at(total, e, agreement)
        np.add.at(count, e, 1)
    return total / count


def tree_poses(
    pairs: np.ndarray, cam2_from_cam1: np.ndarray, reliability: np.ndarray, part: np.ndarray
) -> np.ndarray:
    """Cameras (T, 4, 4) cam2world along the most reliable spanning tree; each part starts at its first frame."""
    frames = len(part)
    best = np.lexsort((-reliability, pairs.max(1), pairs.min(1)))
    keys = pairs.min(1)[best] * frames + pairs.max(1)[best]
    best = best[np.unique(keys, return_index=True)[1]]
    low, high, pose = _ascending(pairs[best], cam2_from_cam1[best])
    cost = coo_matrix((2 - reliability[best], (low, high)), shape=(frames, frames))
    tree = minimum_spanning_tree(cost.tocsr())
    edge = {
        (i, j): pose[k] for k, (i, j) in enumerate(zip(low.tolist(), high.tolist(), strict=True))
    }
    cam2world = np.tile(np.eye(4), (frames, 1, 1))
    for start in np.unique(part, return_index=True)[1].tolist():
        order, parent = breadth_first_order(tree, start, directed=False)
        for t in order[1:].tolist():
            p = int(parent[t])
            # cam_t_from_cam_p; the edge is stored from the lower to the higher frame.
            step = edge[p, t] if p < t else _inverse(edge[t, p])
            cam2world[t] = cam2world[p] @ _inverse(step)
    return cam2world


def _ascending(pairs: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower frame (E,), higher frame (E,) and the pose of the higher from the lower."""
    swap = pairs[:, 0] > pairs[:, 1]
    turned = pose.copy()
    turned[swap] = invert(torch.from_numpy(pose[swap])).numpy()
    return pairs.min(1), pairs.max(1), turned


def _inverse(T: np.ndarray) -> np.ndarray:
    return invert(torch.from_numpy(T)).numpy()


def _relative(error: np.ndarray) -> np.ndarray:
    return error / max(float(np.median(error)), 1e-9)


def _triangles(
    low: np.ndarray, high: np.ndarray, frames: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Passes (i, j), (j, k), (i, k) with i < j < k, as three index arrays."""
    by_low = np.argsort(low, kind="stable")
    start = np.searchsorted(low[by_low], np.arange(frames + 1))
    count = (start[1:] - start[:-1])[high]
    a = np.repeat(np.arange(len(low)), count)
    within = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    b = by_low[start[high[a]] + within] if len(a) else a
    if len(a) > _MAX_TRIANGLES:
        drawn = np.random.default_rng(seed).choice(len(a), _MAX_TRIANGLES, replace=False)
        a, b = a[drawn], b[drawn]
    key = low * frames + high
    by_key = np.argsort(key, kind="stable")
    wanted = low[a] * frames + high[b]
    slot = np.searchsorted(key[by_key], wanted).clip(max=len(key) - 1)
    found = key[by_key][slot] == wanted if len(a) else np.zeros(0, bool)
    return a[found], b[found], by_key[slot][found]
