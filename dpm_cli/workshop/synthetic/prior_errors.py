"""True depth with the errors of single-image depth networks: what `dpm-mini` learns to use a prior from.

Scale of each view, shift of the inverse depth, smooth warps that both views share but for a part, blurred edges, missed
thin things, and now and then a prior that has nothing to do with the pair.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LEVELS = (0.02, 0.3)
"""Least and most of the common size of a prior's errors, drawn evenly in its logarithm."""
_WRONG = 0.1
"""Share of pairs that get the prior of another pair, or a constant one."""
_SKY_SEEN = 0.7
"""Share of pairs whose sky is known to have no depth; elsewhere it is told as far."""
_LEAST = 0.03
_PICTURE_PX = 288.0
"""Width that the blur and the thin things are sized for."""


def imitate_prior(depth: Tensor, generator: torch.Generator) -> Tensor:
    """Inverse depth (B, 2, H, W) up to scale, 0 where nothing is told, of true depth (B, 2, H, W), 0 = sky.

    Random numbers are drawn on the CPU from `generator`.
    """
    batch, _, height, width = depth.shape

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator).to(depth.device)

    def chance() -> Tensor:
        return torch.rand(batch, 1, 1, 1, generator=generator).to(depth.device)

    low, high = (math.log(v) for v in _LEVELS)
    level = (low + (high - low) * chance()).exp()
    known = depth > 0
    inverse = torch.where(known, 1 / depth.clamp_min(1e-6), 0.0)
    typical = inverse.masked_fill(~known, torch.nan).flatten(1).nanmedian(1).values
    q = inverse / typical.nan_to_num(1.0).clamp_min(1e-6)[:, None, None, None]
    q = _blurred(_without_thin_things(q, level), level, width)
    offset = level * (0.5 * draw(1, 1, 1) + 0.25 * draw(2, 1, 1))
    warp = _smooth(draw(1, 4, 5), height, width) + 0.3 * _smooth(draw(2, 4, 5), height, width)
    told = (level * (warp + 0.5 * draw(2, 1, 1))).exp() * (q + offset).clamp_min(_LEAST)
    told = torch.where(known | (chance() > _SKY_SEEN), told, 0.0)
    lot = chance()
    told = torch.where(lot < _WRONG, told.roll(1, 0), told)
    return torch.where(lot < _WRONG / 3, torch.ones_like(told), told)


def _without_thin_things(q: Tensor, level: Tensor) -> Tensor:
    """What is near and narrower than a few pixels is gone where errors are large."""
    flat = q.flatten(0, 1)[:, None]
    opened = -F.max_pool2d(-flat, 3, 1, 1)
    opened = F.max_pool2d(opened, 3, 1, 1)[:, 0].unflatten(0, q.shape[:2])
    return torch.where(level > 0.06, opened, q)


def _blurred(q: Tensor, level: Tensor, width: int) -> Tensor:
    """Edges blurred by .3 + 20 level pixels of a picture 288 wide: a mean of boxes, mixed between sizes."""
    sigma = (0.3 + 20 * level) * width / _PICTURE_PX
    flat = q.flatten(0, 1)[:, None]
    before, before_sigma = q, 0.0
    out = q
    for size in (3, 5, 9):
        box = F.avg_pool2d(flat, size, 1, size // 2, count_include_pad=False)
        box = F.avg_pool2d(box, size, 1, size // 2, count_include_pad=False)
        box = box[:, 0].unflatten(0, q.shape[:2])
        box_sigma = ((size**2 - 1) / 6) ** 0.5
        share = ((sigma - before_sigma) / (box_sigma - before_sigma)).clamp(0, 1)
        out = torch.where(sigma > before_sigma, before + share * (box - before), out)
        before, before_sigma = box, box_sigma
    return out


def _smooth(coarse: Tensor, height: int, width: int) -> Tensor:
    """(B, V, H, W) noise of unit deviation that varies over a quarter of the picture, of noise (B, V, 4, 5)."""
    fine = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return fine / fine.std((2, 3), keepdim=True)
