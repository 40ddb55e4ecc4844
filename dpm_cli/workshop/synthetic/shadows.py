"""Which points the sun does not reach: rays to the light against the objects whose bounding ball they pass."""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import times
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.raycast import SEARCHED, Tables, intersect
from dpm_cli.workshop.synthetic.scene import ShapeKind

_SHADOW_NEAR = 2e-3


def in_shadow(world: Tensor, light: Tensor, tables: Tables, scale: Tensor) -> Tensor:
    """True (F, P) where something stands between world points (F, P, 3) and the light (F, 3).

    Candidates are (object, point) pairs whose line to the light passes the object's bounding ball.
    """
    frames, points = world.shape[:2]
    pairs = _past_balls(world, light, tables, scale).flatten().nonzero()[:, 0]
    entry, pixel, kind = _named(pairs, tables.kind, points)
    shadow = torch.zeros(frames * points, dtype=torch.bool, device=world.device)
    start, toward = world.reshape(-1, 3).T.contiguous(), light.T.contiguous()
    matrix = tables.from_world.flatten(0, 1).flatten(1).T.contiguous()
    for k in list(ShapeKind)[1:]:
        chosen = (kind == k).nonzero()[:, 0]
        if not len(chosen):
            continue
        rows, pix = entry.index_select(0, chosen), pixel.index_select(0, chosen)
        hit = _blocked(k, start, toward, matrix, tables, rows, pix)
        shadow.index_fill_(0, pix.index_select(0, hit.nonzero()[:, 0]), True)
    return shadow.view(frames, points)


@hot
def _past_balls(world: Tensor, light: Tensor, tables: Tables, scale: Tensor) -> Tensor:
    """True (F, N, P) where the ray from a point to the light may meet a slot: it passes its ball, and not behind it."""
    centre = tables.to_world[..., 3]
    radius = (tables.half * scale).norm(dim=-1)
    radius = torch.where(tables.kind > 0, radius, torch.full_like(radius, -1.0))
    side = torch.linalg.cross(light, torch.roll(light, 1, -1))
    side = torch.nn.functional.normalize(side, dim=-1)
    plane = torch.stack((side, torch.linalg.cross(light, side)), 1)
    q, c = times(world, plane.transpose(1, 2)), centre @ plane.transpose(1, 2)
    if torch.compiler.is_compiling():  # two terms a product, see `times`
        across = c[:, :, None, 0] * q[:, None, :, 0] + c[:, :, None, 1] * q[:, None, :, 1]
        inner = (q * q).sum(-1)[:, None] - 2 * across
    else:
        inner = torch.baddbmm((q * q).sum(-1)[:, None], c, q.transpose(1, 2), alpha=-2)
    ahead = times(world, light[:, :, None])[..., 0][:, None]
    near = inner < (radius.abs() * radius - (c * c).sum(-1))[..., None]
    front = ahead < ((centre @ light[:, :, None])[..., 0] + radius)[..., None]
    return near & front


@hot
def _named(pairs: Tensor, kinds: Tensor, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entry (frame, slot), pixel (frame, point) and kind, each (M,), of flat (frame, slot, point) numbers."""
    entry = torch.div(pairs, points, rounding_mode="floor")
    frame = torch.div(entry, kinds.shape[1], rounding_mode="floor")
    return entry, frame * points + pairs - entry * points, kinds.flatten().index_select(0, entry)


def _blocked(
    k: ShapeKind,
    start: Tensor,
    toward: Tensor,
    matrix: Tensor,
    tables: Tables,
    entry: Tensor,
    pixel: Tensor,
) -> Tensor:
    """True (M,) where the ray from `start` (3, F * P) of a pixel towards the light (3, F) hits an entry of kind k."""
    if k not in SEARCHED:
        return _analytic_blocked(k, start, toward, matrix, tables, entry, pixel)
    o, d = _rays(start, toward, matrix, tables.kind.shape[1], entry, pixel)
    return intersect(k, o, d, tables, entry, _SHADOW_NEAR).isfinite()


@hot
def _analytic_blocked(k: ShapeKind, start, toward, matrix, tables, entry, pixel) -> Tensor:
    """The answer of `_blocked` where the search of roots does not stand between rays and hits."""
    o, d = _rays(start, toward, matrix, tables.kind.shape[1], entry, pixel)
    return intersect(k, o, d, tables, entry, _SHADOW_NEAR).isfinite()


@hot
def _rays(start, toward, matrix, slots: int, entry, pixel) -> tuple[Tensor, Tensor]:
    """Origin and direction (3, M) in unit coordinates."""
    frame = torch.div(entry, slots, rounding_mode="floor")
    l, m = toward.index_select(1, frame), matrix.index_select(1, entry)
    p = start.index_select(1, pixel)
    o = [
        m[4 * i] * p[0] + m[4 * i + 1] * p[1] + m[4 * i + 2] * p[2] + m[4 * i + 3] for i in range(3)
    ]
    d = [m[4 * i] * l[0] + m[4 * i + 1] * l[1] + m[4 * i + 2] * l[2] for i in range(3)]
    return torch.stack(o), torch.stack(d)
