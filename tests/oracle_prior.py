"""A depth prior made from rendered truth with the errors of single-image networks, and priors that are plainly wrong.

Errors: a scale of each frame, a shift of the inverse depth, smooth warps that mostly stay with the clip, blurred edges,
missed thin things, a focal length off by a few per cent. Their common size is chosen so that the mean AbsRel after one
scale a clip is what is asked for.
"""

import cv2
import numpy as np

WRONG = ("other", "constant", "inverted")
FOCAL_BIAS = 0.4
"""Deviation of the error of log focal length that is common to a clip, of the level."""


def oracle(depth, level, rng):
    """Inverse depth (T, H, W) whose AbsRel is about `level`, from true depth (T, H, W), 0 = sky."""
    known = depth > 0
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0)
    state = rng.bit_generator.state
    low, high = 0.0, 4 * level
    for _ in range(12):
        middle = (low + high) / 2
        rng.bit_generator.state = state
        if absrel(with_errors(inverse, known, middle, rng), depth) < level:
            low = middle
        else:
            high = middle
    rng.bit_generator.state = state
    return with_errors(inverse, known, (low + high) / 2, rng)


def with_errors(inverse, known, amount, rng):
    """The errors at one size; `amount` is about the relative error of each."""
    frames, height, width = inverse.shape
    shift, warp = rng.normal(0, amount / 2), smooth(rng, height, width)
    out = np.empty_like(inverse)
    for t in range(frames):
        q = without_thin_things(inverse[t].astype(np.float32), round(1 + 25 * amount))
        q = cv2.GaussianBlur(q, (0, 0), 0.3 + 20 * amount)
        typical = np.median(q[known[t]])
        warped = amount * (warp + 0.3 * smooth(rng, height, width))
        offset = typical * (shift + rng.normal(0, amount / 4))
        out[t] = np.exp(rng.normal(0, amount / 2) + warped) * np.maximum(q + offset, 0.03 * typical)
    return out


def without_thin_things(inverse, radius):
    """What is narrower than `radius` pixels and near is gone."""
    return cv2.morphologyEx(inverse, cv2.MORPH_OPEN, np.ones((radius, radius), np.uint8))


def smooth(rng, height, width):
    """(height, width) noise of unit deviation that varies over a quarter of the picture."""
    coarse = rng.normal(size=(4, 5)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine / fine.std()


def absrel(inverse, depth):
    """Of a clip after its best (median) scale."""
    known = depth > 0
    ratio = 1 / (inverse[known] * depth[known])
    return float(np.abs(ratio / np.median(ratio) - 1).mean())


def wrong(kind, inverse, other):
    """A prior that has nothing to do with the clip; `other` is the true inverse depth of another one."""
    if kind == "other":
        return np.maximum(other, 0.03 * np.median(other))
    if kind == "constant":
        return np.ones_like(inverse)
    low, high = np.percentile(inverse, (1, 99))
    return np.clip(low + high - inverse, 0.3 * low + 1e-3 * high, None)


def write_maps(folder, inverse, sky, focal_px):
    """One npz a frame, as `--prior FOLDER` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, (q, nothing) in enumerate(zip(inverse, sky, strict=True)):
        depth = np.where(nothing, np.inf, 1 / np.maximum(q, 1e-9)).astype(np.float32)
        np.savez(folder / f"{t:06d}.npz", depth=depth, focal_px=np.float64(focal_px[t]))
