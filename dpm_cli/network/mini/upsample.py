"""Small maps to the size of the images, with edges where the images have them (joint bilateral upsampling).

Kopf et al., SIGGRAPH 2007: a pixel is a mean of the small maps' pixels around it, weighed by nearness and by how
alike the small and the full image are there. So a mean is over one surface where colours tell surfaces apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = (-1, 0, 1)
_SIGMA_PX = 0.7
_SIGMA_COLOUR = 0.08
_FLOOR = 1e-3
"""Weight that a neighbour keeps whatever its colour, so that a pixel unlike all of them gets their plain mean."""


_BAND = 16_384
"""Pixels of all images that are worked on at a time, so that their values stay in the processor's cache."""


def upsample(maps: Tensor, guide: Tensor) -> Tensor:
    """Maps (N, C, h, w) at the size of the images `guide` (N, 3, H, W) in [0, 1]."""
    height, width = guide.shape[-2:]
    if maps.shape[-2:] == guide.shape[-2:]:
        return maps
    small = F.interpolate(guide, maps.shape[-2:], mode="bilinear", antialias=True)
    # Channels last, so that a pixel's values are one piece of memory.
    values = maps.permute(0, 2, 3, 1).contiguous()
    colours = small.permute(0, 2, 3, 1).contiguous()
    picture = guide.permute(0, 2, 3, 1).contiguous()
    places = _places(height, maps.shape[-2], guide), _places(width, maps.shape[-1], guide)
    out = torch.empty(len(maps), height, width, maps.shape[1], device=maps.device)
    rows = max(1, _BAND // (len(maps) * width)) if guide.device.type == "cpu" else height
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        out[:, band] = _band(values, colours, picture[:, band], places, band)
    return out.permute(0, 3, 1, 2)


def _band(
    values: Tensor,
    colours: Tensor,
    picture: Tensor,
    places: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    band: slice,
) -> Tensor:
    """Values (N, rows, W, C) of some rows of the images, from small values (N, h, w, C) and colours (N, h, w, 3)."""
    (y, base_y), (x, base_x) = places
    y, base_y = y[band], base_y[band]
    height, width = colours.shape[1:3]
    values, colours, picture = values.flatten(1, 2), colours.flatten(1, 2), picture.flatten(1, 2)
    total = values.new_zeros(*picture.shape[:2], values.shape[-1])
    norm = torch.zeros_like(total[..., :1])
    for dy in _REACH:
        for dx in _REACH:
            row, column = (base_y + dy).clamp(0, height - 1), (base_x + dx).clamp(0, width - 1)
            cell = (row[:, None] * width + column).flatten()
            far = ((y - base_y - dy) ** 2)[:, None] + (x - base_x - dx) ** 2
            apart = (colours.index_select(1, cell) - picture).square().sum(-1)
            alike = (-apart / (2 * _SIGMA_COLOUR**2)).exp() + _FLOOR
            weight = (alike * (-far / (2 * _SIGMA_PX**2)).exp().flatten())[..., None]
            total.addcmul_(values.index_select(1, cell), weight)
            norm += weight
    return (total / norm).unflatten(1, (len(y), len(x)))


def _places(count: int, small: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where the centres of `count` pixels lie on an axis of `small` cells, and the nearest cell, both (count,)."""
    place = (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) * small / count
    place = place - 0.5
    return place, place.round().long()
