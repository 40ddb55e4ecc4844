"""Motion score: length of scene flow against its expected noise, calibrated on the pass itself.

Errors of a pair's maps are correlated (a slightly wrong camera moves every point), so independent pixel noise would
call whole backgrounds moving. The scale of the noise is therefore read off the lowest mode of the flow's relative
length, which is the static scene as long as that fills a fifth of the picture.
"""

import torch
from torch import Tensor

_MAXWELL_MEDIAN = 1.538
"""Median length of a 3D normal vector over its standard deviation per axis."""
_MAXWELL_FIFTH = 1.0025
"""The same for the lowest fifth."""
_STATIC_WIDTH = 3.5
_SAMPLES = 8192
_LEAST_PX = 0.1

MOTION_SIGMAS = 4.0
"""Scene flow of this many noise deviations has score 0.5."""


def relative_flow(start: Tensor, end: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
    """Scene flow's length over distance and expected noise, (..., H, W) >= 0.

    Args:
        start: (..., H, W, 3) points of a view at one time.
        end: the same at the other.
        confidence: (..., H, W) of the less certain of the two; only its pattern counts, and at most by a factor of two.
        valid: (..., H, W) bool.
    """
    length = (end - start).norm(dim=-1) / start.norm(dim=-1).clamp_min(1e-9)
    typical = torch.where(valid, confidence, torch.nan).flatten(-2).nanmedian(-1)[0]
    pattern = (confidence / typical.nan_to_num(1.0)[..., None, None].clamp_min(1e-9)).clamp(0.5, 2)
    return torch.where(valid, length * pattern, torch.zeros_like(length))


def static_deviation(relative: Tensor, valid: Tensor, floor: Tensor, iterations: int = 8) -> Tensor:
    """Noise deviation (...) of the static mode of `relative` (..., H, W), at least `floor` (...).

    Starts at the lowest fifth and grows to the median of what it calls static, until that is itself.
    """
    step = max(
        1, relative[..., 0, 0].numel() and relative.shape[-1] * relative.shape[-2] // _SAMPLES
    )
    values = torch.where(valid, relative, torch.nan).flatten(-2)[..., ::step]
    sigma = values.nanquantile(0.2, dim=-1).nan_to_num(0.0) / _MAXWELL_FIFTH
    sigma = torch.maximum(sigma, floor)
    for _ in range(iterations):
        static = torch.where(values < _STATIC_WIDTH * sigma[..., None], values, torch.nan)
        sigma = torch.maximum(static.nanmedian(-1)[0].nan_to_num(0.0) / _MAXWELL_MEDIAN, floor)
    return sigma


def motion_score(
    start: Tensor, end: Tensor, confidence: Tensor, valid: Tensor, focal_px: Tensor
) -> Tensor:
    """Score (..., H, W) in 0..1 that a pixel moves by itself; 0.5 at four deviations of the static noise.

    Motion of less than a tenth of a pixel, by `focal_px` (...), is never claimed, however exact the maps.
    """
    relative = relative_flow(start, end, confidence, valid)
    sigma = static_deviation(relative, valid, _LEAST_PX / MOTION_SIGMAS / focal_px.to(relative))
    square = (relative / (MOTION_SIGMAS * sigma[..., None, None])) ** 2
    return square / (1 + square)
