"""A slow caster for tests: every ray against every slot, without rectangles, lists or scatter."""

import torch

from dpm_cli.workshop.synthetic.raycast import NEAR, Tables, compose, intersect
from dpm_cli.workshop.synthetic.scene import ShapeKind
from dpm_cli.workshop.synthetic.world import World


def cast_slowly(world: World, tables: Tables, frame: int, cam2world, rays):
    """First hit depth (P,) and slot (P,) of camera rays (P, 3), z = 1, of one frame of the tables."""
    clip = int(tables.frame_clip[frame])
    depth, slot = _background(world, clip, tables, frame, cam2world, rays)
    for n in range(1, tables.kind.shape[1]):
        kind = ShapeKind(int(tables.kind[frame, n]))
        if kind == ShapeKind.BACKGROUND:
            continue
        obj_from_cam = compose(tables.from_world[frame, n], cam2world[:3])
        o = obj_from_cam[:, 3:].expand(-1, len(rays))
        entry = torch.full((len(rays),), frame * tables.kind.shape[1] + n)
        s = intersect(kind, o, obj_from_cam[:, :3] @ rays.T, tables, entry, NEAR)
        nearer = s < depth
        depth, slot = torch.where(nearer, s, depth), torch.where(nearer, n, slot)
    return depth, slot


def _background(world: World, clip: int, tables: Tables, frame: int, cam2world, rays):
    """Exit from the room by trying its six faces one by one."""
    obj_from_cam = compose(tables.from_world[frame, 0], cam2world[:3])
    o, d = obj_from_cam[:, 3], rays @ obj_from_cam[:, :3].T
    best = torch.full((len(rays),), float("inf"))
    for corner in (world.room.low[clip], world.room.high[clip]):
        for axis in range(3):
            s = (corner[axis] - o[axis]) / d[:, axis]
            best = torch.where((s > 0) & (s < best), s, best)
    above = o[1] + best * d[:, 1] < world.room.wall_top[clip] - 1e-4
    best = best.masked_fill(world.room.open[clip] & above, float("inf"))
    return best, torch.where(best.isinf(), -1, 0)


def light_is_blocked(tables: Tables, frame: int, points, light):
    """True (P,) where any slot stands between points (P, 3) and the light (3,), tried one by one."""
    blocked = torch.zeros(len(points), dtype=torch.bool)
    for n in range(1, tables.kind.shape[1]):
        kind = ShapeKind(int(tables.kind[frame, n]))
        if kind == ShapeKind.BACKGROUND:
            continue
        m = tables.from_world[frame, n]
        o = m[:, :3] @ points.T + m[:, 3:]
        d = (m[:, :3] @ light)[:, None].expand(-1, len(points))
        entry = torch.full((len(points),), frame * tables.kind.shape[1] + n)
        blocked |= intersect(kind, o, d, tables, entry, 2e-3).isfinite()
    return blocked
