"""Seeds in, clips with exact truth out: draws worlds, casts rays, shades and develops, in chunks of bounded memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpm_cli.errors import UsageError
from dpm_cli.geometry.camera import (
    intrinsics_matrix,
    pixel_grid,
    rays,
    source_from_working,
    transform_intrinsics,
)
from dpm_cli.synthetic import film, shading
from dpm_cli.synthetic.raycast import SKY, cast, make_tables
from dpm_cli.synthetic.scene import Looks, Motion, Objects, Room
from dpm_cli.synthetic.truth import ClipTruth
from dpm_cli.synthetic.world import World, build_world

CHUNK_PIXELS = {"cpu": 200_000, "cuda": 12_000_000}
"""Pixels cast at once: on a CPU what stays in the cache, on a GPU what fits a few GiB."""


def render_clip(
    seed: int,
    frames: int,
    size: tuple[int, int],
    *,
    camera: str | None = None,
    supersample: int = 1,
    device: torch.device | str = "cpu",
) -> ClipTruth:
    """One clip (B = 1) of `frames` frames at `size` = (H, W); see `render_clips`."""
    return render_clips([seed], frames, size, camera=camera, supersample=supersample, device=device)


@torch.no_grad()
def render_clips(
    seeds: Sequence[int] | Tensor,
    frames: int,
    size: tuple[int, int],
    *,
    camera: str | None = None,
    supersample: int = 1,
    device: torch.device | str = "cpu",
) -> ClipTruth:
    """B clips with exact truth.

    Args:
        seeds: B numbers from `scene_seed`.
        frames: T.
        size: (H, W) in pixels, at least 8 each.
        camera: kind of camera path for all, or None to draw it.
        supersample: colours are the mean of this many squared rays a pixel; the truth stays that of its centre.
        device: where to render and keep the result.

    Raises:
        UsageError: unknown camera, no frames or a size below 8 pixels.
    """
    if frames < 1 or min(size) < 8 or supersample < 1:
        raise UsageError(
            f"cannot render {frames} frames of {size[1]}x{size[0]}: at least 1 frame of 8x8"
        )
    seed = torch.as_tensor(seeds, dtype=torch.int64, device=device)
    times = torch.arange(frames, device=seed.device)
    height, width = size
    per_chunk = max(1, _budget(seed.device) // (height * width * frames))
    parts = [
        render_world(build_world(s, camera), times.expand(len(s), -1), size, supersample)
        for s in seed.split(per_chunk)
    ]
    return ClipTruth.join(parts)


@torch.no_grad()
def render_at(
    seeds: Tensor, times: Tensor, size: tuple[int, int], camera: Tensor | None = None
) -> ClipTruth:
    """B clips at their own times (B, T) in frames; `camera` (B,) are indices of `CAMERA_KINDS`, None = drawn."""
    per_chunk = max(1, _budget(seeds.device) // (size[0] * size[1] * times.shape[1]))
    cameras = (None,) * len(seeds) if camera is None else camera.split(per_chunk)
    parts = zip(seeds.split(per_chunk), times.split(per_chunk), cameras, strict=False)
    return ClipTruth.join([render_world(build_world(s, c), t, size) for s, t, c in parts])


def _budget(device: torch.device) -> int:
    return CHUNK_PIXELS["cpu" if device.type == "cpu" else "cuda"]


def render_world(
    world: World, times: Tensor, size: tuple[int, int], supersample: int = 1
) -> ClipTruth:
    """All frames of a few worlds at times (B, T); frames go through the caster in chunks."""
    clips, frames = times.shape
    motion = world.motion(times)
    height, width = size
    K = intrinsics_matrix(world.focal * max(size), height, width)
    per_chunk = max(1, _budget(times.device) // (height * width * clips))
    depth, slot, light = [], [], []
    for index in torch.arange(frames, device=times.device).split(per_chunk):
        part = Motion(**{k: v[:, index] for k, v in vars(motion).items()})
        d, s, l = _render_frames(world.objects, world.room, world.looks, part, K, size)
        depth.append(d)
        slot.append(s)
        light.append(l if supersample == 1 else _fine_light(world, part, K, size, supersample))
    truth = ClipTruth(
        images=torch.empty(0),
        depth=torch.cat(depth, 1),
        object_id=torch.cat(slot, 1).to(torch.int16),
        intrinsics=K[:, None].expand(-1, frames, -1, -1),
        cam2world=motion.cam2world,
        pose=motion.pose,
        scale=motion.scale,
        deform=motion.deform,
        kind=world.objects.kind * world.objects.active,
        mover=world.objects.mover & world.objects.active,
        instance=world.objects.instance,
        time=times.float(),
        seed=world.seeds,
    )
    smear = truth.image_motion() if frames > 1 and bool((world.film.shutter > 0).any()) else None
    images = film.develop(world.film, torch.cat(light, 1), world.seeds, times, smear)
    return ClipTruth(**{**vars(truth), "images": images})


def _fine_light(
    world: World, motion: Motion, K: Tensor, size: tuple[int, int], factor: int
) -> Tensor:
    """Radiance (B, T, 3, H, W) averaged over factor x factor rays a pixel, one frame at a time."""
    fine = (size[0] * factor, size[1] * factor)
    matrix = transform_intrinsics(K, source_from_working(fine, size).to(K))
    rows = []
    for t in range(motion.scale.shape[1]):
        part = Motion(**{k: v[:, t : t + 1] for k, v in vars(motion).items()})
        _, _, light = _render_frames(world.objects, world.room, world.looks, part, matrix, fine)
        rows.append(
            torch.nn.functional.avg_pool2d(light.flatten(0, 1), factor).unflatten(0, (-1, 1))
        )
    return torch.cat(rows, 1)


def _render_frames(objects: Objects, room: Room, looks: Looks, motion: Motion, K: Tensor, size):
    """Depth, slot (B, T, H, W) and radiance (B, T, 3, H, W) of B clips x T frames; depth 0 at the sky."""
    clips, frames = motion.scale.shape[:2]
    tables = make_tables(objects, motion)
    cam2world = motion.cam2world.flatten(0, 1)
    matrix = K.repeat_interleave(frames, 0)
    grid = pixel_grid(*size, device=K.device).reshape(-1, 2)
    direction = rays(grid.expand(len(matrix), -1, -1), matrix)
    depth, slot = cast(room, tables, cam2world, matrix, direction, size)
    light = _radiance(
        room, looks, tables, motion.scale.flatten(0, 1), cam2world, matrix, direction, depth, slot
    )
    shape = (clips, frames, *size)
    depth = depth.masked_fill(slot == SKY, 0)
    light = light.view(3, clips, frames, *size).permute(1, 2, 0, 3, 4)
    return depth.view(shape), slot.view(shape), light


def _radiance(room, looks, tables, scale, cam2world, K, direction, depth, slot) -> Tensor:
    """Radiance (3, F * P) of hits."""
    frames, points = depth.shape
    slots = tables.kind.shape[1]
    frame = torch.arange(frames, device=depth.device).repeat_interleave(points)
    clip = tables.frame_clip.index_select(0, frame)
    flat_slot = slot.flatten()
    is_sky = flat_slot == SKY
    entry = frame * slots + flat_slot.clamp_min(0)
    z = depth.flatten().masked_fill(is_sky, 1)
    toward = (direction @ cam2world[:, :3, :3].transpose(1, 2)).reshape(-1, 3).T
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
    rgb, material = shading.albedo(looks, clip * (slots + 1) + finish, uv, footprint)
    lifted = point + 1e-3 * z * normal
    shadow = shading.in_shadow(
        lifted.T.reshape(frames, points, 3), looks.light[tables.frame_clip], tables, scale
    )
    light = shading.shade(looks, rgb, material, normal, view, shadow.flatten(), clip)
    haze = 1 - (-looks.haze.index_select(0, clip) * z).exp()
    light = light + haze * (looks.sky_colour[:, 0].T.index_select(1, clip) - light)
    above = is_sky.nonzero()[:, 0]
    light[:, above] = shading.sky(looks, -view[:, above], clip[above])
    return light
