"""Small maps to the size of the images, with edges where the images have them (joint bilateral upsampling).

Kopf et al., SIGGRAPH 2007: a pixel is a mean of the small maps' pixels around it, weighed by nearness and by how
alike the small and the full image are there. So a mean is over one surface where colours tell surfaces apart.

Pixels at the same place of their small cells make a plane of the small size, and a plane sees its neighbours in the
nine shifts of the small maps: so all is arithmetic on whole planes, and nothing is gathered pixel by pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = (-1, 0, 1)
_SIGMA_PX = 0.7
_SIGMA_COLOUR = 0.08
_FLOOR = 1e-3
"""Weight that a neighbour keeps whatever its colour, so that a pixel unlike all of them gets their plain mean."""


def upsample(maps: Tensor, guide: Tensor) -> Tensor:
    """Maps (N, C, h, w) at the size of the images `guide` (N, 3, H, W) in [0, 1]."""
    if maps.shape[-2:] == guide.shape[-2:]:
        return maps
    y = _Axis.make(guide.shape[2], maps.shape[2], guide.device)
    x = _Axis.make(guide.shape[3], maps.shape[3], guide.device)
    small = F.interpolate(guide, maps.shape[-2:], mode="bilinear", antialias=True)
    out = maps.new_empty(*maps.shape[:2], *guide.shape[2:])
    # On a CPU one image at a time, so that its planes stay in the processor's cache.
    at_once = 1 if guide.device.type == "cpu" else len(maps)
    for n in range(0, len(maps), at_once):
        part = slice(n, n + at_once)
        weights = _weights(small[part], guide[part], y, x)
        cells = list(_shifted(maps[part]))
        places = range(y.places * x.places)
        _join([_mean(cells, [w[:, p, None] for w in weights]) for p in places], y, x, out[part])
    return out


@dataclass(frozen=True, eq=False)
class _Axis:
    """Which of `count` pixels belong to which of `cells` small cells: P places in each, as many as the fullest has."""

    cells: int
    places: int
    pixel: Tensor
    """(P * cells,) number of the pixel at each place of each cell; places that are not needed repeat others."""
    where: Tensor
    """(count,) which of those each pixel is."""
    near: Tensor
    """(3, P, cells) weight by nearness of the cell before, the own, and the cell after."""

    @classmethod
    def make(cls, count: int, cells: int, device: torch.device) -> "_Axis":
        every = torch.arange(cells, device=device)
        number = torch.arange(count, device=device)
        centre = (number.float() + 0.5) * cells / count - 0.5
        own = centre.round().long()
        first, after = torch.searchsorted(own, every), torch.searchsorted(own, every, right=True)
        places = int((after - first).max())
        pixel = first + torch.arange(places, device=device)[:, None]
        pixel = pixel.minimum(after - 1).clamp(0, count - 1)
        shift = torch.tensor(_REACH, device=device)[:, None, None]
        near = (-(centre[pixel] - every - shift).square() / (2 * _SIGMA_PX**2)).exp()
        return cls(cells, places, pixel.flatten(), (number - first[own]) * cells + own, near)


def _weights(small: Tensor, guide: Tensor, y: _Axis, x: _Axis) -> list[Tensor]:
    """Weight (N, P_y P_x, h, w) of each of the nine cells around every pixel; their sum is one."""
    planes = guide[:, :, y.pixel][:, :, :, x.pixel]
    planes = planes.unflatten(3, (x.places, -1)).unflatten(2, (y.places, -1))
    red, green, blue = planes.transpose(3, 4).flatten(2, 3).contiguous().unbind(1)
    sharp = 1 / (2 * _SIGMA_COLOUR**2)
    bright = (red.square() + green.square() + blue.square()).mul_(-sharp)
    near = (y.near[:, None, :, None, :, None] * x.near[None, :, None, :, None, :]).flatten(0, 1)
    weights, total = [], torch.zeros_like(bright)
    for place, colour in zip(near.flatten(1, 2), _shifted(small), strict=True):
        # The squared difference of colours, p^2 + c^2 - 2 p c.
        alike = bright - sharp * colour.square().sum(1, keepdim=True)
        for own, other in zip((red, green, blue), (2 * sharp * colour).unbind(1), strict=True):
            alike.addcmul_(own, other[:, None])
        weights.append(alike.exp_().add_(_FLOOR).mul_(place))
        total += alike
    return [weight.div_(total) for weight in weights]


def _shifted(small: Tensor) -> Iterator[Tensor]:
    """Images (N, C, h, w) of the nine cells around every cell, row by row; edges are repeated."""
    height, width = small.shape[-2:]
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    for dy in _REACH:
        for dx in _REACH:
            yield padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def _mean(cells: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Mean (N, C, h, w) of the nine cells around, each (N, C, h, w), by weights (N, 1, h, w)."""
    total = cells[0] * weights[0]
    for cell, weight in zip(cells[1:], weights[1:], strict=True):
        total.addcmul_(cell, weight)
    return total


def _join(planes: list[Tensor], y: _Axis, x: _Axis, out: Tensor) -> None:
    """Planes (N, C, h, w), one for each place in the cells, to their pixels in `out` (N, C, H, W)."""
    if len(y.pixel) == len(y.where) and len(x.pixel) == len(x.where):
        for p, plane in enumerate(planes):
            out[:, :, p // x.places :: y.places, p % x.places :: x.places] = plane
        return
    rows = [torch.cat(planes[k : k + x.places], 3) for k in range(0, len(planes), x.places)]
    out.copy_(torch.cat(rows, 2)[:, :, y.where][:, :, :, x.where])
