"""Light that reaches the camera: texture in material coordinates, sun, sky light, shine.

Textures are looked up by unit coordinates *before* deformation, so they stick to the surface. Component-first lists of
P pixels, as in `raycast.py`.
"""

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic import deform, shapes, textures
from dpm_cli.workshop.synthetic.raycast import Tables
from dpm_cli.workshop.synthetic.scene import Looks, ShapeKind


def material_points(world: Tensor, entry: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """Deformed and undeformed unit coordinates (3, P) of world points (3, P) on `entry` (P,) (frame, slot)."""
    m = tables.from_world.flatten(0, 1).flatten(1).T.contiguous().index_select(1, entry)
    bent = torch.stack(
        [
            m[4 * k] * world[0] + m[4 * k + 1] * world[1] + m[4 * k + 2] * world[2] + m[4 * k + 3]
            for k in range(3)
        ]
    )
    kind = tables.kind.flatten().index_select(0, entry)
    return bent, deform.apply(kind, bent, tables.deform.index_select(1, entry), inverse=True)


def unit_gradients(
    bent: Tensor, entry: Tensor, room_low: Tensor, room_high: Tensor, tables: Tables
) -> Tensor:
    """Surface gradients (3, P) in unit coordinates; the room's point inward. Room corners are (3, P)."""
    kind = tables.kind.flatten().index_select(0, entry)
    gap = torch.minimum((bent - room_low).abs(), (bent - room_high).abs())
    middle = (room_low + room_high) / 2
    out = shapes.main_axis(1 / gap.clamp_min(1e-12)) * (middle - bent).sign()
    if torch.compiler.is_compiling():  # masks instead of lists, see deform.py
        shape, q, planes = (
            t.index_select(1, entry) for t in (tables.shape, tables.deform, tables.planes)
        )
        for k in list(ShapeKind)[1:]:
            out = torch.where(kind == k.value, shapes.gradient(k, bent, shape, q, planes), out)
        return out
    for k in list(ShapeKind)[1:]:
        chosen = (kind == k).nonzero()[:, 0]
        if len(chosen):
            rows = entry.index_select(0, chosen)
            shape, q, planes = (
                t.index_select(1, rows) for t in (tables.shape, tables.deform, tables.planes)
            )
            found = shapes.gradient(k, bent.index_select(1, chosen), shape, q, planes)
            out.index_copy_(1, chosen, found)
    return out


def world_normals(gradient: Tensor, entry: Tensor, tables: Tables) -> Tensor:
    """Unit normals (3, P) in the world: A^-T gradient."""
    m = tables.from_world.flatten(0, 1).flatten(1).T.contiguous().index_select(1, entry)
    n = torch.stack(
        [m[k] * gradient[0] + m[4 + k] * gradient[1] + m[8 + k] * gradient[2] for k in range(3)]
    )
    return shapes.normalised(n)


def texture_lookup(texels: Tensor, start: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    """Colour (3, P) in [0, 1] at texel coordinates u, v (P,), trilinear over mip `level` (P,)."""
    level = level.clamp(0, textures.LEVELS - 1)
    low = level.floor()
    share = level - low
    out = (1 - share) * _bilinear(texels, start, u, v, low.long())
    return out + share * _bilinear(
        texels, start, u, v, (low + 1).clamp_max(textures.LEVELS - 1).long()
    )


def _bilinear(texels: Tensor, start: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    scale = (-level.float()).exp2()
    u, v = u * scale - 0.5, v * scale - 0.5
    u0, v0 = u.floor(), v.floor()
    fu, fv = u - u0, v - v0
    bits = 8 - level
    mask = (1 << bits) - 1
    x0, y0 = u0.long() & mask, v0.long() & mask
    x1, y1 = (x0 + 1) & mask, (y0 + 1) & mask
    base = start + textures.level_offset(level)
    out = torch.zeros(3, len(u), device=u.device)
    for y, wy in ((y0, 1 - fv), (y1, fv)):
        row = base + (y << bits)
        for x, wx in ((x0, 1 - fu), (x1, fu)):
            texel = texels.index_select(0, row + x)
            weight = wx * wy / 255
            out[0] += weight * (texel & 255)
            out[1] += weight * ((texel >> 8) & 255)
            out[2] += weight * (texel >> 16)
    return out


def surface_uv(unit: Tensor, gradient: Tensor, kind: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Texture plane coordinates (P,), scene units: the two axes across the main direction of the gradient."""
    metric = unit * size
    guide = torch.where(kind == ShapeKind.SUPERQUADRIC.value, unit, gradient / size)
    across_x, across_y, _ = shapes.main_axis(guide)
    flat = kind == ShapeKind.SHEET.value
    across_x, across_y = across_x.masked_fill(flat, 0), across_y.masked_fill(flat, 0)
    u = metric[0] + across_x * (metric[2] - metric[0])
    v = metric[1] + across_y * (metric[2] - metric[1])
    return u, v


def albedo(
    looks: Looks, clip_slot: Tensor, uv: tuple[Tensor, Tensor], footprint: Tensor
) -> tuple[Tensor, Tensor]:
    """Colour and shine (strength, sharpness), (3, P) and (2, P), at texture coordinates.

    `footprint` (P,) is in scene units a pixel.
    """
    m = looks.material.flatten(0, 1).T.contiguous().index_select(1, clip_slot)
    starts = looks.texture_start.flatten(0, 1).T.index_select(1, clip_slot)
    layers = []
    for k in (0, 1):
        density = m[12 + k]
        level = (footprint * density).clamp_min(1e-6).log2()
        u, v = uv[0] * density + m[14 + 2 * k], uv[1] * density + m[15 + 2 * k]
        layers.append(texture_lookup(looks.texels, starts[k], u, v, level))
    grain = layers[1].mean(0) - 0.5
    rgb = torch.stack([(m[3 * c : 3 * c + 3] * layers[0]).sum(0) + m[9 + c] for c in range(3)])
    return (rgb * (1 + m[18] * grain)).clamp(0.01, 1), m[19:]


def sky(looks: Looks, direction: Tensor, clip: Tensor) -> Tensor:
    """Colour (3, P) of the sky along unit directions (3, P) of the scene's world, with 1/f clouds."""
    horizon, zenith = looks.sky_colour[clip].permute(1, 2, 0)
    up = (-direction[1]).clamp(0, 1)
    base = horizon + (zenith - horizon) * up.sqrt()
    lift = 40 / (up + 0.25)
    u, v = direction[0] * lift + 128, direction[2] * lift + 128
    cloud = texture_lookup(looks.texels, looks.sky_start[clip], u, v, torch.zeros_like(u))
    return (base * (0.75 + 0.5 * cloud.mean(0))).clamp(0, 1)


def shade(
    looks: Looks,
    rgb: Tensor,
    shine: Tensor,
    normal: Tensor,
    view: Tensor,
    shadow: Tensor,
    clip: Tensor,
) -> Tensor:
    """Radiance (3, P): Lambert sun with shadow, sky light from above, Blinn-Phong shine.

    `normal` and `view` (3, P) are unit, `view` points to the camera; `rgb`, `shine` are those of `albedo`, `clip` (P,)
    is the clip of each pixel.
    """
    light = looks.light.T.index_select(1, clip)
    colour, ambient = (
        looks.light_colour.T.index_select(1, clip),
        looks.ambient.T.index_select(1, clip),
    )
    lit = (normal * light).sum(0).clamp_min(0) * (~shadow)
    fill = 0.75 - 0.25 * normal[1]
    middle = shapes.normalised(light + view)
    gloss = (normal * middle).sum(0).clamp_min(1e-6) ** shine[1] * shine[0] * (lit > 0)
    return rgb * (ambient * fill + colour * lit) + colour * gloss
