"""From the first hits of rays to the light that they bring: surfaces, shadow rays, light, haze, sky.

Lists of P = frames x points pixels, component first, as in `raycast.py`.
"""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import times
from dpm_cli.workshop.synthetic import shading
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.raycast import SKY, Tables
from dpm_cli.workshop.synthetic.scene import Looks, Room
from dpm_cli.workshop.synthetic.shadows import in_shadow
from dpm_cli.workshop.synthetic.world import World

_Surface = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def radiance(
    world: World,
    tables: Tables,
    scale: Tensor,
    cam2world: Tensor,
    K: Tensor,
    direction: Tensor,
    depth: Tensor,
    slot: Tensor,
) -> Tensor:
    """Radiance (3, P) of the hits of `raycast.cast`, whose arguments it shares; `scale` is (F, N, 3)."""
    looks = world.looks
    surface = _surface(looks, world.room, tables, scale, cam2world, K, direction, depth, slot)
    start = surface[0].T.reshape(*depth.shape, 3)
    shadow = in_shadow(start, looks.light[tables.frame_clip], tables, scale)
    return _lit(looks, tables, surface[1:], shadow, depth, slot)


def _rows(tables: Tables, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Frame and clip (P,) of each pixel."""
    frames, points = depth.shape
    frame = torch.arange(frames, device=depth.device).repeat_interleave(points)
    return frame, tables.frame_clip.index_select(0, frame)


@hot
def _surface(
    looks: Looks,
    room: Room,
    tables: Tables,
    scale: Tensor,
    cam2world: Tensor,
    K: Tensor,
    direction: Tensor,
    depth: Tensor,
    slot: Tensor,
) -> _Surface:
    """Start of the shadow ray, normal, direction to the camera, colour (3, P each) and shine (2, P)."""
    slots = tables.kind.shape[1]
    frame, clip = _rows(tables, depth)
    flat_slot = slot.flatten()
    entry = frame * slots + flat_slot.clamp_min(0)
    z = depth.flatten().masked_fill(flat_slot == SKY, 1)
    toward = times(direction, cam2world[:, :3, :3].transpose(1, 2)).reshape(-1, 3).T
    length = (toward * toward).sum(0).sqrt()
    eye = cam2world[:, :3, 3].T.index_select(1, frame)
    point = eye + toward * z
    bent, unit = shading.material_points(point, entry, tables)
    low, high = room.low.T.index_select(1, clip), room.high.T.index_select(1, clip)
    gradient = shading.unit_gradients(bent, entry, low, high, tables)
    normal = shading.world_normals(gradient, entry, tables)
    view = -toward / length
    facing = (normal * view).sum(0)
    normal = normal * torch.where(facing < 0, -1.0, 1.0)
    kind = tables.kind.flatten().index_select(0, entry)
    uv = shading.surface_uv(unit, gradient, kind, scale.flatten(0, 1).T.index_select(1, entry))
    footprint = z * length / K[:, 0, 0].index_select(0, frame) / facing.abs().clamp_min(0.1).sqrt()
    is_wall = (flat_slot == 0) & (gradient[1] == 0)
    finish = flat_slot.clamp_min(0).masked_fill(is_wall, slots)
    rgb, shine = shading.albedo(looks, clip * (slots + 1) + finish, uv, footprint)
    return point + 1e-3 * z * normal, normal, view, rgb, shine


@hot
def _lit(
    looks: Looks,
    tables: Tables,
    surface: tuple[Tensor, Tensor, Tensor, Tensor],
    shadow: Tensor,
    depth: Tensor,
    slot: Tensor,
) -> Tensor:
    """Radiance (3, P) of surfaces (normal, direction to the camera, colour, shine) and of the sky."""
    normal, view, rgb, shine = surface
    _, clip = _rows(tables, depth)
    is_sky = slot.flatten() == SKY
    z = depth.flatten().masked_fill(is_sky, 1)
    light = shading.shade(looks, rgb, shine, normal, view, shadow.flatten(), clip)
    haze = 1 - (-looks.haze.index_select(0, clip) * z).exp()
    light = light + haze * (looks.sky_colour[:, 0].T.index_select(1, clip) - light)
    if torch.compiler.is_compiling():
        return torch.where(is_sky, shading.sky(looks, -view, clip), light)
    above = is_sky.nonzero()[:, 0]
    light[:, above] = shading.sky(looks, -view[:, above], clip[above])
    return light
