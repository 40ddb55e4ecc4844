"""First hit of rays with all objects of many frames at once, by work lists instead of loops over objects.

Every (frame, object) has a bounding box whose projection gives a rectangle of pixels; the rectangles of all frames are
laid end to end into one list of candidates, grouped by shape, intersected per shape, and reduced by a scatter-minimum
into the depth buffer. So the work is the covered area, not pixels times objects. Component-first tables (rows, entries)
keep every gather contiguous. The lists are made between the hot functions (`fuse.py`): their lengths depend on values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import times
from dpm_cli.workshop.synthetic import deform, shapes
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.scene import Motion, Room, SceneObjects, ShapeKind

SKY = -1
NEAR = 0.02
SEARCHED = (ShapeKind.SUPERQUADRIC, ShapeKind.SHEET)
"""Shapes whose hits are found step by step, not by a formula."""
_PIXEL_MARGIN = 1.0


@dataclass(frozen=True, eq=False)
class Tables:
    """What intersection needs of F frames x N slots; frames of all clips lie end to end."""

    frame_clip: Tensor
    """(F,) int64 clip of each frame."""
    to_world: Tensor
    """(F, N, 3, 4) affine A(t), world from unit coordinates."""
    from_world: Tensor
    """(F, N, 3, 4) its inverse."""
    half: Tensor
    """(F, N, 3) half extents that hold the deformed shape, unit coordinates."""
    kind: Tensor
    """(F, N) int64, BACKGROUND where the slot is empty."""
    deform: Tensor
    """(8, F * N)."""
    shape: Tensor
    """(2, F * N)."""
    planes: Tensor
    """(24, F * N)."""


def affine(pose: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """A(t) and its inverse (..., 3, 4) from rigid poses (..., 4, 4) and scales (..., 3)."""
    rotation, centre = pose[..., :3, :3], pose[..., :3, 3:]
    forward = torch.cat((rotation * scale[..., None, :], centre), -1)
    back = rotation.transpose(-1, -2) / scale[..., :, None]
    return forward, torch.cat((back, -back @ centre), -1)


def make_tables(objects: SceneObjects, motion: Motion) -> Tables:
    """Tables of B clips x T frames."""
    clips, frames = motion.scale.shape[:2]
    rows = torch.arange(clips, device=motion.scale.device).repeat_interleave(frames)
    pose, scale = motion.pose.flatten(0, 1), motion.scale.flatten(0, 1)
    kind = (objects.kind * objects.active)[rows]
    bent = motion.deform.flatten(0, 1)
    half = deform.bound(kind, bent)
    tall = objects.shape[rows][..., 0]
    half[..., 1] = torch.where(kind == ShapeKind.CAPSULE, tall + 1, half[..., 1])
    to_world, from_world = affine(pose, scale.clamp_min(1e-9))
    return Tables(
        frame_clip=rows,
        to_world=to_world,
        from_world=from_world,
        half=half,
        kind=kind,
        deform=bent.flatten(0, 1).T.contiguous(),
        shape=objects.shape[rows].flatten(0, 1).T.contiguous(),
        planes=objects.planes[rows].flatten(2).flatten(0, 1).T.contiguous(),
    )


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Affine a after b, both (..., 3, 4)."""
    linear = a[..., :3] @ b[..., :3]
    return torch.cat((linear, a[..., :3] @ b[..., 3:] + a[..., 3:]), -1)


def rectangles(cam_from_obj: Tensor, half: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel rectangles (F, N, 4) as x0, y0, width, height that hold the projected bounding boxes.

    `cam_from_obj` (F, N, 3, 4), `half` (F, N, 3), K (F, 3, 3). Boxes that reach behind the camera get the whole image.
    """
    height, width = size
    signs = torch.tensor(
        [(x, y, z) for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)], device=half.device
    )
    corners = signs[:, None] * half[:, :, None, None]
    points = (cam_from_obj[:, :, None, :, :3] * corners).sum(-1) + cam_from_obj[:, :, None, :, 3]
    z = points[..., 2]
    behind, ahead = (z < NEAR).all(-1), (z >= NEAR).all(-1)
    z = z.clamp_min(NEAR)
    focal, centre = K[:, None, None, (0, 1), (0, 1)], K[:, None, None, :2, 2]
    pixel = points[..., :2] / z[..., None] * focal + centre
    limit = torch.tensor((width, height), device=half.device, dtype=half.dtype)
    low = (pixel.amin(2) - _PIXEL_MARGIN).floor().clamp_min(0)
    high = (pixel.amax(2) + _PIXEL_MARGIN).ceil() + 1
    low = torch.where(ahead[..., None], low, torch.zeros_like(low))
    high = torch.where(ahead[..., None], torch.minimum(high, limit), limit.expand_as(high))
    extent = (high - low).clamp_min(0) * ~behind[..., None]
    return torch.cat((torch.minimum(low, limit), extent), -1).long()


def candidates(
    rect: Tensor, chosen: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lay rectangles end to end.

    Args:
        rect: (F, N, 4) from `rectangles`.
        chosen: (E,) int64 flat (frame, slot) entries to list.
        size: image (height, width).

    Returns:
        entry (M,) flat (frame, slot), pixel (M,) flat (frame, y, x), x (M,) and y (M,) float.
    """
    columns, which = lay_out(rect, chosen, size)
    return place(columns, which, size[1])


def lay_out(rect: Tensor, chosen: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What `place` needs: (6, E) numbers of each rectangle and, for each candidate (M,), its rectangle."""
    x0, y0, w, h = rect.flatten(0, 1)[chosen].unbind(-1)
    area = w * h
    frame = torch.div(chosen, rect.shape[1], rounding_mode="floor")
    which = torch.repeat_interleave(torch.arange(len(chosen), device=rect.device), area)
    first = frame * (size[0] * size[1])
    return torch.stack((area.cumsum(0) - area, w, x0, y0, chosen, first)), which


def place(columns: Tensor, which: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The answer of `candidates` from that of `lay_out`; `width` is the image's."""
    start, w, x0, y0, entry, first = columns.index_select(1, which)
    inside = torch.arange(len(which), device=which.device) - start
    row = torch.div(inside, w, rounding_mode="floor")
    x = inside - row * w + x0
    y = row + y0
    return entry, first + y * width + x, x.to(torch.float32), y.to(torch.float32)


def intersect(
    kind: ShapeKind, o: Tensor, d: Tensor, tables: Tables, entry: Tensor, near: float
) -> Tensor:
    """Ray parameter (M,) of the first hit of unit shapes of one kind; `entry` (M,) is the flat (frame, slot)."""
    if kind == ShapeKind.ELLIPSOID:
        return shapes.ellipsoid(o, d, near)
    if kind == ShapeKind.BOX:
        return shapes.box(o, d, near)
    if kind == ShapeKind.POLYTOPE:
        return shapes.polytope(o, d, tables.planes.index_select(1, entry), near)
    shape = tables.shape.index_select(1, entry)
    if kind == ShapeKind.CONE:
        return shapes.cone(o, d, shape[0], near)
    if kind == ShapeKind.CAPSULE:
        return shapes.capsule(o, d, shape[0], near)
    return shapes.searched(kind, o, d, shape, tables.deform.index_select(1, entry), near)


@hot
def background(
    room: Room, tables: Tables, cam2world: Tensor, rays: Tensor
) -> tuple[Tensor, Tensor]:
    """Depth (F, P) of the room's inside along camera rays (F, P, 3) of z = 1, and slot; infinity and SKY outside."""
    rows = tables.frame_clip
    obj_from_cam = compose(tables.from_world[:, 0], cam2world[:, :3])
    o = obj_from_cam[..., 3]
    d = times(rays, obj_from_cam[..., :3].transpose(-1, -2))
    # A ray along a wall: its reciprocal must be finite and go with the corner it is sent to.
    safe = torch.where(d.abs() < 1e-7, torch.full_like(d, 1e-7), d)
    corner = torch.where(safe > 0, room.high[rows, None], room.low[rows, None])
    depth = ((corner - o[:, None]) / safe).amin(-1)
    y = o[:, None, 1] + depth * d[..., 1]
    outside = room.open[rows, None] & (y < room.wall_top[rows, None] - 1e-4)
    depth = depth.masked_fill(outside, shapes.INF)
    return depth, torch.where(depth.isinf(), SKY, 0)


def cast(
    room: Room, tables: Tables, cam2world: Tensor, K: Tensor, rays: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """First hits of F frames.

    Args:
        room: backgrounds of the B clips.
        tables: of the F frames.
        cam2world: (F, 4, 4) in the scene's world.
        K: (F, 3, 3).
        rays: (F, H * W, 3) camera rays with z = 1.
        size: (H, W).

    Returns:
        depth (F, H * W), infinity at the sky, and slot (F, H * W) int64 with SKY = -1.
    """
    slots = tables.kind.shape[1]
    depth, slot = background(room, tables, cam2world, rays)
    world2cam = _invert(cam2world)
    rect = rectangles(compose(world2cam[:, None], tables.to_world), tables.half, K, size)
    obj_from_cam = compose(tables.from_world, cam2world[:, None, :3])
    # Directions come straight from pixel coordinates, so the intrinsics go into the table.
    inverse_K = torch.linalg.inv(K)[:, None]
    table = torch.cat((obj_from_cam[..., :3] @ inverse_K, obj_from_cam[..., 3:]), -1)
    table = table.flatten(0, 1).flatten(1).T.contiguous()
    flat_kind, area = tables.kind.flatten(), (rect[..., 2] * rect[..., 3]).flatten()
    buffer, pixels, entries, hits = depth.flatten(), [], [], []
    for kind in list(ShapeKind)[1:]:
        chosen = ((flat_kind == kind) & (area > 0)).nonzero()[:, 0]
        if not len(chosen):
            continue
        entry, pixel, s = _hits(kind, table, tables, *lay_out(rect, chosen, size), size[1])
        hit = s.isfinite().nonzero()[:, 0]
        pixels.append(pixel.index_select(0, hit))
        entries.append(entry.index_select(0, hit))
        hits.append(s.index_select(0, hit))
    if not pixels:
        return depth, slot
    pixel, entry, s = torch.cat(pixels), torch.cat(entries), torch.cat(hits)
    buffer = buffer.scatter_reduce(0, pixel, s, "amin")
    won = (s == buffer.index_select(0, pixel)).nonzero()[:, 0]
    flat = slot.flatten()
    flat.scatter_(0, pixel.index_select(0, won), entry.index_select(0, won) % slots)
    return buffer.view_as(depth), flat.view_as(slot)


def _hits(
    kind: ShapeKind, table: Tensor, tables: Tables, columns: Tensor, which: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Entry, pixel and depth (M,) of candidates; `table` (12, F * N) maps pixels to rays in unit coordinates."""
    if kind not in SEARCHED:
        return _analytic_hits(kind, table, tables, columns, which, width)
    entry, pixel, o, d = _rays(table, columns, which, width)
    return entry, pixel, intersect(kind, o, d, tables, entry, NEAR)


@hot
def _analytic_hits(kind: ShapeKind, table, tables, columns, which, width):
    """The answer of `_hits` where the search of roots does not stand between rays and depth."""
    entry, pixel, o, d = _rays(table, columns, which, width)
    return entry, pixel, intersect(kind, o, d, tables, entry, NEAR)


@hot
def _rays(table: Tensor, columns: Tensor, which: Tensor, width: int) -> tuple[Tensor, ...]:
    """Entry and pixel (M,), origin and direction (3, M) in unit coordinates, of candidates."""
    entry, pixel, x, y = place(columns, which, width)
    m = table.index_select(1, entry)
    d = torch.stack([m[4 * k] * x + m[4 * k + 1] * y + m[4 * k + 2] for k in range(3)])
    return entry, pixel, m[3::4], d


def _invert(cam2world: Tensor) -> Tensor:
    """World to camera as (F, 3, 4)."""
    back = cam2world[:, :3, :3].transpose(-1, -2)
    return torch.cat((back, -back @ cam2world[:, :3, 3:]), -1)
