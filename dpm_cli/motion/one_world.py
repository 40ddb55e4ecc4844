"""One world for all frames: what every frame that sees a point says of its depth, by how sure each is.

Each frame's depth bends in its own way, gently, where its flows say little; another frame may have seen the same place
well. So frames hear each other, in a few rounds in which what the sure ones know travels on. What bends is smooth, so
half the size will do, and only the change is taken back to the whole size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dpm_cli.geometry.camera import source_from_working
from dpm_cli.matching.consistency import follow
from dpm_cli.motion.look import Look
from dpm_cli.motion.steady import transported

ROUNDS = 2
_AT_ONCE = 2
"""Frames between two that see a mover at so much the same place that the one may speak of the other's depth of it."""
_SAME = 0.02
"""Difference of log depth that says nothing against being the same thing, however sure both are."""
_ERRORS = 2.0
"""Expected errors, of both, at which another's word counts a quarter."""
_MOVING = 0.2
"""Difference of log depth that motion makes."""
_SUREST = 100.0
"""Confidence beyond which another frame is not believed: frames near by share their errors, and at half the size depth
is blurred where it steps."""


@dataclass(frozen=True, eq=False)
class HalfDepth:
    """Depth of a frame at half its size."""

    log_depth: np.ndarray
    """(h, w) float32."""
    confidence: np.ndarray
    """(h, w) float32, 1 / expected relative error, at least 1."""
    dynamic: np.ndarray
    """(h, w) float32 motion score."""


def half_depth(log_depth: np.ndarray, confidence: np.ndarray, dynamic: np.ndarray) -> HalfDepth:
    """Depth, its confidence and the motion score of a frame, all (H, W), at half their size."""
    error = _halved(1 / np.maximum(confidence, 1))
    return HalfDepth(_halved(log_depth), 1 / error, _halved(dynamic))


def half_look(look: Look) -> Look:
    """The same look at frames of half the size."""
    flow, back = _halved(look.flow), _halved(look.back)
    full_from_half = source_from_working(look.flow.shape[:2], flow.shape[:2]).numpy()
    shrink = np.diag(1 / np.diag(full_from_half)[:2]).astype(np.float32)
    half_from_full = np.linalg.inv(full_from_half)
    return replace(
        look,
        flow=cv2.transform(flow, shrink),
        back=cv2.transform(back, shrink),
        K_own=half_from_full @ look.K_own,
        K_other=half_from_full @ look.K_other,
    )


def agreed(first: HalfDepth, now: HalfDepth, others: Sequence[tuple[Look, HalfDepth]]) -> HalfDepth:
    """A frame after one more round.

    Args:
        first: what it said before all rounds, which stays its own word.
        now: after the rounds so far.
        others: looks at half size, and the frames that they lead to after the rounds so far.
    """
    share = first.confidence**2
    total = share * first.log_depth
    for look, other in others:
        said = transported(now.log_depth, look, other.log_depth)
        sure = np.minimum(follow(other.confidence, look.flow), np.float32(_SUREST))
        width2 = _ERRORS**2 * (now.confidence**-2 + sure**-2)
        width2 += _SAME**2 + (_MOVING * now.dynamic) ** 2
        trust = look.seen()[1] * sure**2 / (1 + (said - now.log_depth) ** 2 / width2) ** 2
        if look.stride > _AT_ONCE:
            trust *= 1 - now.dynamic
        total += trust * said
        share += trust
    return replace(now, log_depth=total / share, confidence=np.sqrt(share))


def changed(log_depth: np.ndarray, first: HalfDepth, last: HalfDepth) -> np.ndarray:
    """Log depth (H, W) of a frame with what the rounds from `first` to `last` changed at half its size."""
    change = last.log_depth - first.log_depth
    return log_depth + cv2.resize(change, log_depth.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _halved(values: np.ndarray) -> np.ndarray:
    """Mean of every two by two, (H, W) or (H, W, C) float32; half of an odd size is rounded."""
    height, width = values.shape[:2]
    size = (max(1, round(width / 2)), max(1, round(height / 2)))
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)
