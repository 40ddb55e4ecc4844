"""Does a point that stands still keep its place in the world from frame to frame, wherever that place is?"""

import cv2
import numpy as np
import torch

from dpm_cli.geometry.camera import project_map, unproject
from dpm_cli.geometry.rigid import invert, transform_map
from dpm_cli.matching.consistency import look_up
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.evaluate.motion_scores import neighbours

_SAME = 0.02
"""Difference of true depth, of depth, up to which two frames see the same point."""


def score_spread(matched: MatchedSequence) -> dict[str, float]:
    """`static_spread`: distance between the places that two neighbouring frames give a static point, over its depth.

    The truth says which pixels show the same point; the median over the pixels of a pair, the mean over the pairs.
    """
    truth = matched.truth
    if truth.depth is None or truth.cam2world is None or truth.intrinsics is None:
        return {}
    known = matched.result.camera_ok
    rows = [row for row in neighbours(matched) if known[row] and known[row + 1]]
    found = [spread for row in rows if (spread := _pair_spread(matched, row)) is not None]
    return {"static_spread": float(np.mean(found))} if found else {}


def _pair_spread(matched: MatchedSequence, row: int) -> float | None:
    """Median of one pair; None where the truth knows no point that both frames see."""
    there, same = _same_points(matched, row)
    known = [
        cv2.resize(matched.read(r, "valid").astype(np.uint8), same.shape[::-1])
        for r in (row, row + 1)
    ]
    same &= (known[0] > 0) & (look_up(known[1], there) > 0)
    if not same.any():
        return None
    own, other = (cv2.resize(matched.read(r, "points"), same.shape[::-1]) for r in (row, row + 1))
    depth = cv2.resize(matched.read(row, "depth"), same.shape[::-1])
    apart = np.linalg.norm(own - look_up(other, there), axis=-1)
    return float(np.median(apart[same] / depth[same]))


def _same_points(matched: MatchedSequence, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W, 2) of the next frame that show the static points of this one by the truth, and whether they do."""
    truth, pair = matched.truth, [int(matched.frames[r]) for r in (row, row + 1)]
    assert truth.cam2world is not None
    assert truth.intrinsics is not None
    depth, other = _depth(truth, pair[0]), _depth(truth, pair[1])
    K, K_other = (torch.from_numpy(truth.intrinsics[t]).double() for t in pair)
    own, next_one = (torch.from_numpy(truth.cam2world[t]).double() for t in pair)
    points = unproject(torch.from_numpy(depth).double(), K)
    camera = transform_map(invert(next_one) @ own, points)
    z = camera[..., 2].numpy()
    there = project_map(camera, K_other).float().numpy()
    limit = (depth.shape[1] - 1, depth.shape[0] - 1)
    inside = (there >= 0).all(-1) & (there <= limit).all(-1)
    seen = cv2.remap(other, there, None, cv2.INTER_NEAREST)  # pyright: ignore
    same = (depth > 0) & (seen > 0) & inside & (np.abs(seen - z) < _SAME * np.maximum(z, 1e-6))
    if truth.masks is not None:
        same &= truth.masks[pair[0]] == 0
    return there, same


def _depth(truth: SequenceTruth, t: int) -> np.ndarray:
    """(H, W) float32, 0 where not known."""
    assert truth.depth is not None
    depth = truth.depth[t]
    return np.where(depth < truth.max_depth, depth, 0).astype(np.float32)
