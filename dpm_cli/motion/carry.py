"""Log odds of motion carried along the flow, to what looks like the same surface, and turned into a score.

Time: a pixel's neighbours in the clip see the same thing, at the place where the flow leads, and are asked too.
Space: what is certain is spread up to the edges of the image; holes and specks too small to be a thing are filled by
what is around them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.matching.consistency import follow
from dpm_cli.motion.edges import Alike
from dpm_cli.motion.evidence import Evidence

_NEIGHBOUR_WEIGHT = 0.5
_SMOOTHNESS = 400.0
_SMALLEST = 4e-4
"""Share of the picture below which a hole or a speck is no thing."""
_BARELY = 0.1
"""Log odds."""


@dataclass(frozen=True, eq=False)
class Neighbour:
    """What another frame says, and the way to it."""

    flow: np.ndarray
    """(H, W, 2) float32 to that frame."""
    seen: np.ndarray
    """(H, W) bool."""
    evidence: Evidence


def motion_scores(
    image: np.ndarray, evidence: Evidence, neighbours: Sequence[Neighbour]
) -> np.ndarray:
    """Score (H, W) float32 in 0..1 that a pixel moves by itself; 0.5 is the threshold.

    Args:
        image: (H, W, 3) uint8.
        evidence: of this frame.
        neighbours: frames near by.
    """
    weight = evidence.certainty.copy()
    total = evidence.log_odds * weight
    for near in neighbours:
        share = _NEIGHBOUR_WEIGHT * near.seen * follow(near.evidence.certainty, near.flow)
        total += share * follow(near.evidence.log_odds, near.flow)
        weight += share
    smooth = Alike(image, _SMOOTHNESS).mean(total / weight, np.minimum(weight, 1))
    return 1 / (1 + np.exp(-without_specks(smooth)))


def without_specks(log_odds: np.ndarray) -> np.ndarray:
    """Log odds (H, W) with every connected part smaller than a thing put on its surroundings' side, barely."""
    out = log_odds.copy()
    smallest = _SMALLEST * log_odds.size
    for moving in (True, False):
        side = ((out > 0) == moving).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(side, connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < smallest
        small[0] = False
        if count > 1 and small.any():
            out = np.where(small[labels], -_BARELY if moving else _BARELY, out)
    return out
