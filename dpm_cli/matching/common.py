"""Have two images anything in common? Flow is found between any two; that it comes back alone proves little.

Two images of noise have a smooth flow that may well come back, and two of blotches one along which they look alike. A
place that both show does both: its flow comes back, and the patches at its two ends correlate.
"""

import cv2
import numpy as np

from dpm_cli.matching.consistency import comes_back, follow

_PATCH = 9
_TEXTURE = 6.0
"""Deviation of grey within a patch (0..255) below which noise decides whether two patches are alike."""
_ALIKE = 0.5
"""Correlation of two patches that show one thing; of noise at its best flow it is below .3."""
_BACK_PX, _BACK_SHARE = 0.7, 0.03
"""Forward-backward error that flow may have: so many pixels, plus this share of its length."""
_FEW = 0.01
"""Share of pixels with texture below which there is nothing to judge by."""


def common_share(images: np.ndarray, flow: np.ndarray) -> float:
    """Share 0..1 of the textured pixels that both of two images show, of those whose flow stays inside.

    Without texture it is 1: nothing contradicts the flow.

    Args:
        images: (2, H, W, 3) uint8.
        flow: (2, H, W, 2) float32 pixels, there and back.
    """
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in images]
    shares = [_share(grey[v], grey[1 - v], flow[v], flow[1 - v]) for v in (0, 1)]
    return float(np.mean(shares))


def _share(own: np.ndarray, other: np.ndarray, flow: np.ndarray, back: np.ndarray) -> float:
    error, inside = comes_back(flow, back)
    correlation, deviation = _correlation(own, follow(other, flow))
    judged = inside & (deviation > _TEXTURE)
    if judged.mean() < _FEW:
        return 1.0
    length = np.sqrt(np.einsum("...i,...i->...", flow, flow))
    common = (error < _BACK_PX + _BACK_SHARE * length) & (correlation > _ALIKE)
    return float(common[judged].mean())


def _correlation(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation (H, W) of the patches around every pixel, and the deviation of grey in the first."""
    means = [cv2.blur(x, (_PATCH, _PATCH)) for x in (first, second)]
    products = [first * first, second * second, first * second]
    pairs = [(0, 0), (1, 1), (0, 1)]
    own, other, both = (
        cv2.blur(p, (_PATCH, _PATCH)) - means[i] * means[j]
        for p, (i, j) in zip(products, pairs, strict=True)
    )
    scale = np.sqrt(np.maximum(own, 1) * np.maximum(other, 1))
    return both / scale, np.sqrt(np.maximum(own, 0))
