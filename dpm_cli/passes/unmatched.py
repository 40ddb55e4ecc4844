"""Pairs of frames that have nothing in common: flow was found for them, so everything was, and none of it is believed.

A noisy sensor, water, a change of scene that is no cut, frames too far apart. What stays is a guess at each frame's
depth that claims nothing; the pair joins no cameras and says nothing of motion.
"""

from dataclasses import replace

import numpy as np
import torch

from dpm_cli.geometry.reduce import PairReduction
from dpm_cli.matching.common import common_share
from dpm_cli.structures import FrameReader

UNMATCHED = "unmatched"
"""Status of such a pair."""
_LEAST_SHARE = 0.27
"""Share of what both frames show: pairs of noise have .24 at most, film and rendered pairs that still help .32."""
_GUESS = 1.0
"""Confidence: depth that may as well be twice as large."""


def without_unmatched(
    reduction: PairReduction, frames: FrameReader, rows: np.ndarray
) -> PairReduction:
    """The reduction of pairs (B, 2) with those marked whose measured flow finds nothing that both frames show."""
    flows = reduction.flow.float().cpu().numpy()
    shares = [_share(frames, row, flow) for row, flow in zip(rows, flows, strict=True)]
    lost = torch.tensor(shares, device=reduction.depth.device) < _LEAST_SHARE
    if not bool(lost.any()):
        return reduction
    maps = lost[:, None, None, None]
    status = zip(reduction.status, lost.tolist(), strict=True)
    return replace(
        reduction,
        confidence=torch.where(maps, reduction.confidence.clamp_max(_GUESS), reduction.confidence),
        pose_inliers=reduction.pose_inliers.masked_fill(lost, 0),
        flow_visible=reduction.flow_visible & ~maps,
        motion=reduction.motion.masked_fill(maps, 0),
        status=tuple(UNMATCHED if bad else word for word, bad in status),
    )


def _share(frames: FrameReader, row: np.ndarray, flow: np.ndarray) -> float:
    i, j = (int(t) for t in row)
    return 1.0 if i == j else common_share(frames.read([i, j]), flow)
