"""Of several candidates for the flow of a pair, the best at every pixel: what comes back and looks alike there."""

import cv2
import numpy as np

from dpm_cli.matching.consistency import comes_back, follow

_AROUND = 11
"""Pixels across that share one error of the flow."""
_CLAMP_PX = 20.0
_LOOKS, _OUTSIDE = 2.0, 0.5
"""Weights of the share of unlike census signs and of landing outside, beside 1 for flow that does not come back."""
SMOOTH_HANDICAP = 0.15
"""Without it the flow of images without texture is 5 % better, of real and film pairs 10 % worse."""
_RADIUS = 3
_AROUND_CENTRE = [
    (dy, dx) for dy in range(_RADIUS + 1) for dx in range(-_RADIUS, _RADIUS + 1) if dy > 0 or dx > 0
]
"""Rows and columns from a pixel to those that it is compared with."""
_GREY_STEP = 4
"""Grey levels within which two pixels count as equal."""

Both = tuple[np.ndarray, np.ndarray]
"""Flow (H, W, 2) from image 1 to 2 and from 2 to 1."""


def best_of(
    candidates: list[Both], grey_1: np.ndarray, grey_2: np.ndarray, smooth: Both | None = None
) -> Both:
    """The candidate of lowest cost at every pixel, each direction by itself.

    `smooth` competes with a handicap: smooth flow agrees with its inverse also where it is wrong.
    """
    every = candidates if smooth is None else [*candidates, smooth]
    if len(every) == 1:
        return every[0]
    handicap = [0.0] * len(candidates) + [SMOOTH_HANDICAP]
    forward = _pick([(c[0], c[1]) for c in every], grey_1, grey_2, handicap)
    back = _pick([(c[1], c[0]) for c in every], grey_2, grey_1, handicap)
    return forward, back


def _pick(
    both: list[Both], grey_1: np.ndarray, grey_2: np.ndarray, handicap: list[float]
) -> np.ndarray:
    signs = _census(grey_1)
    found = np.empty_like(both[0][0])
    least = np.full(grey_1.shape, np.inf, np.float32)
    for (flow, back), extra in zip(both, handicap, strict=False):
        cost = _cost(flow, back, signs, grey_2)
        cost += np.float32(extra)
        cv2.copyTo(flow, (cost < least).view(np.uint8), found)
        np.minimum(least, cost, out=least)
    return found


def _cost(flow: np.ndarray, back: np.ndarray, signs: np.ndarray, grey_2: np.ndarray) -> np.ndarray:
    """Cost (H, W) of one candidate."""
    error, inside = comes_back(flow, back)
    mean_square = cv2.blur(np.minimum(error, _CLAMP_PX) ** 2, (_AROUND, _AROUND))
    # A running sum over a flat zero may end a rounding error below it.
    error = np.sqrt(np.maximum(mean_square, 0))
    unlike = np.zeros(grey_2.shape, np.uint8)
    for sign, other in zip(signs, _census(follow(grey_2, flow)), strict=True):
        unlike += (sign != other).view(np.uint8)
    unlike = cv2.blur(unlike.astype(np.float32), (5, 5))
    cost = error / (1 + error)
    cost += np.float32(_LOOKS / len(signs)) * unlike
    cost[~inside] += _OUTSIDE
    return cost


def _census(grey: np.ndarray) -> np.ndarray:
    """Signs (24, H, W) int8 of the difference to every pixel around, half of them, as the other half mirrors it.

    Zabih and Woodfill, ECCV 1994, with a third sign for what is equal. Image (H, W) uint8.
    """
    padded = np.pad(grey, _RADIUS, mode="edge")
    height, width = grey.shape
    # Clipped to 0..255 a bound is passed by no pixel that did not pass it before.
    step = np.full_like(grey, _GREY_STEP)
    low, high = cv2.subtract(grey, step), cv2.add(grey, step)
    signs = np.empty((len(_AROUND_CENTRE), height, width), np.int8)
    for sign, (dy, dx) in zip(signs, _AROUND_CENTRE, strict=True):
        top, left = _RADIUS + dy, _RADIUS + dx
        other = padded[top : top + height, left : left + width]
        np.subtract((other > high).view(np.int8), (other < low).view(np.int8), out=sign)
    return signs
