"""Of several candidates for the flow of a pair, the best at every pixel: what comes back and looks alike there."""

import cv2
import numpy as np

from dpm_cli.matching.consistency import comes_back, follow

_AROUND = 11
"""Pixels across that share one error of the flow."""
_CLAMP_PX = 20.0
_LOOKS, _OUTSIDE = 2.0, 0.5
"""Weights of the share of unlike census signs and of landing outside, beside 1 for flow that does not come back."""
_RADIUS = 3
_GREY_STEP = 4
"""Grey levels within which two pixels count as equal."""

Both = tuple[np.ndarray, np.ndarray]
"""Flow (H, W, 2) from image 1 to 2 and from 2 to 1."""


def best_of(candidates: list[Both], grey_1: np.ndarray, grey_2: np.ndarray) -> Both:
    """The candidate of lowest cost at every pixel, each direction by itself."""
    if len(candidates) == 1:
        return candidates[0]
    forward = _pick([c[0] for c in candidates], [c[1] for c in candidates], grey_1, grey_2)
    back = _pick([c[1] for c in candidates], [c[0] for c in candidates], grey_2, grey_1)
    return forward, back


def _pick(
    flows: list[np.ndarray], backs: list[np.ndarray], grey_1: np.ndarray, grey_2: np.ndarray
) -> np.ndarray:
    signs = _census(grey_1)
    costs = [_cost(f, b, signs, grey_2) for f, b in zip(flows, backs, strict=True)]
    best = np.argmin(np.stack(costs), axis=0)
    return np.take_along_axis(np.stack(flows), best[None, ..., None], axis=0)[0]


def _cost(
    flow: np.ndarray, back: np.ndarray, signs: list[np.ndarray], grey_2: np.ndarray
) -> np.ndarray:
    """Cost (H, W) of one candidate."""
    error, inside = comes_back(flow, back)
    mean_square = cv2.blur(np.minimum(error, _CLAMP_PX) ** 2, (_AROUND, _AROUND))
    # A running sum over a flat zero may end a rounding error below it.
    error = np.sqrt(np.maximum(mean_square, 0))
    brought = follow(grey_2, flow)
    unlike = np.zeros(flow.shape[:2], np.float32)
    for sign, other in zip(signs, _census(brought), strict=True):
        unlike += sign != other
    unlike = cv2.blur(unlike / len(signs), (5, 5))
    return error / (1 + error) + _LOOKS * unlike + _OUTSIDE * ~inside


def _census(grey: np.ndarray) -> list[np.ndarray]:
    """Signs (H, W) int8 of the difference to every pixel around, half of them, as the other half mirrors it.

    Zabih and Woodfill, ECCV 1994, with a third sign for what is equal.
    """
    image = grey.astype(np.int16)
    padded = np.pad(image, _RADIUS, mode="edge")
    height, width = image.shape
    signs = []
    for dy in range(_RADIUS + 1):
        for dx in range(-_RADIUS, _RADIUS + 1):
            if dy == 0 and dx <= 0:
                continue
            top, left = _RADIUS + dy, _RADIUS + dx
            step = padded[top : top + height, left : left + width] - image
            signs.append((step > _GREY_STEP).astype(np.int8) - (step < -_GREY_STEP))
    return signs
