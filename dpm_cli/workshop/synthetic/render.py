"""Seeds in, clips with exact truth out: draws worlds, casts rays, shades and develops, in chunks of bounded memory."""

from collections.abc import Sequence
from dataclasses import replace

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
from dpm_cli.workshop.synthetic import film
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.radiance import radiance
from dpm_cli.workshop.synthetic.raycast import SKY, cast, make_tables
from dpm_cli.workshop.synthetic.scene import Motion
from dpm_cli.workshop.synthetic.truth import ClipTruth
from dpm_cli.workshop.synthetic.world import World, build_world

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
    worlds = build_world(seed, camera).split(per_chunk)
    moments = times[None]
    parts = [render_world(w, moments.expand(len(w.seeds), -1), size, supersample) for w in worlds]
    return ClipTruth.join(parts)


@torch.no_grad()
def render_at(
    seeds: Tensor, times: Tensor, size: tuple[int, int], camera: str | Tensor | None = None
) -> ClipTruth:
    """B clips at their own times (B, T) in frames; `camera` is a kind, (B,) indices of `CAMERA_KINDS`, None = drawn."""
    per_chunk = max(1, _budget(seeds.device) // (size[0] * size[1] * times.shape[1]))
    worlds = build_world(seeds, camera).split(per_chunk)
    parts = zip(worlds, times.split(per_chunk), strict=True)
    return ClipTruth.join([render_world(w, t, size) for w, t in parts])


def _budget(device: torch.device) -> int:
    return CHUNK_PIXELS["cpu" if device.type == "cpu" else "cuda"]


def render_world(
    world: World, times: Tensor, size: tuple[int, int], supersample: int = 1
) -> ClipTruth:
    """All frames of a few worlds at times (B, T); frames are rendered and developed in chunks."""
    height, width = size
    K = intrinsics_matrix(world.focal * max(size), height, width)
    per_chunk = max(1, _budget(times.device) // (height * width * len(times)))
    parts, level = [], None
    for moments in times.split(per_chunk, 1):
        motion = world.motion(moments)
        depth, slot, light = _render_frames(world, motion, K, size)
        if supersample > 1:
            light = _fine_light(world, motion, K, size, supersample)
        truth = _undeveloped(world, motion, moments, K, depth, slot)
        level = light[:, 0].mean((1, 2, 3)) if level is None else level
        smear = _image_motion(world, truth) if bool((world.film.shutter > 0).any()) else None
        images = film.develop(world.film, light, level, world.seeds, moments, smear)
        parts.append(replace(truth, images=images))
    return ClipTruth.join_frames(parts)


def _undeveloped(
    world: World, motion: Motion, times: Tensor, K: Tensor, depth: Tensor, slot: Tensor
) -> ClipTruth:
    """Truth of rendered frames, its images still black."""
    black = torch.zeros((), dtype=torch.uint8, device=times.device)
    return ClipTruth(
        images=black.expand(*times.shape, 3, *depth.shape[-2:]),
        depth=depth,
        object_id=slot.to(torch.int16),
        intrinsics=K[:, None].expand(-1, times.shape[1], -1, -1),
        **vars(motion),
        kind=world.objects.kind * world.objects.active,
        mover=world.objects.mover & world.objects.active,
        instance=world.objects.instance,
        time=times.float(),
        seed=world.seeds,
    )


def _image_motion(world: World, truth: ClipTruth) -> Tensor:
    """Motion (B, T, 2, H, W) in pixels during the frame that follows each frame of `truth`."""
    clips, frames = truth.time.shape
    later = world.motion(truth.time + 1)
    moved = {k: torch.stack((getattr(truth, k), v), 2) for k, v in vars(later).items()}
    fixed = {
        k: getattr(truth, k)[:, :, None]
        for k in ("images", "depth", "object_id", "intrinsics", "time")
    }
    steps = {k: v.expand(-1, -1, 2, *v.shape[3:]).flatten(0, 1) for k, v in (moved | fixed).items()}
    same = {
        k: getattr(truth, k).repeat_interleave(frames, 0)
        for k in ("kind", "mover", "instance", "seed")
    }
    flow = ClipTruth(**steps, **same).flow(0, 1)
    return flow.permute(0, 3, 1, 2).unflatten(0, (clips, frames))


def _fine_light(
    world: World, motion: Motion, K: Tensor, size: tuple[int, int], factor: int
) -> Tensor:
    """Radiance (B, T, 3, H, W) averaged over factor x factor rays a pixel, one frame at a time."""
    fine = (size[0] * factor, size[1] * factor)
    matrix = transform_intrinsics(K, source_from_working(fine, size).to(K))
    rows = []
    for t in range(motion.scale.shape[1]):
        part = Motion(**{k: v[:, t : t + 1] for k, v in vars(motion).items()})
        _, _, light = _render_frames(world, part, matrix, fine)
        rows.append(
            torch.nn.functional.avg_pool2d(light.flatten(0, 1), factor).unflatten(0, (-1, 1))
        )
    return torch.cat(rows, 1)


def _render_frames(world: World, motion: Motion, K: Tensor, size: tuple[int, int]):
    """Depth, slot (B, T, H, W) and radiance (B, T, 3, H, W) of B clips x T frames; depth 0 at the sky."""
    clips, frames = motion.scale.shape[:2]
    tables = make_tables(world.objects, motion)
    cam2world = motion.cam2world.flatten(0, 1)
    matrix = K.repeat_interleave(frames, 0)
    direction = _directions(matrix, size)
    depth, slot = cast(world.room, tables, cam2world, matrix, direction, size)
    scale = motion.scale.flatten(0, 1)
    light = radiance(world, tables, scale, cam2world, matrix, direction, depth, slot)
    shape = (clips, frames, *size)
    depth = depth.masked_fill(slot == SKY, 0)
    light = light.view(3, clips, frames, *size).permute(1, 2, 0, 3, 4)
    return depth.view(shape), slot.view(shape), light


@hot
def _directions(K: Tensor, size: tuple[int, int]) -> Tensor:
    """Camera rays (F, H * W, 3) of z = 1; K is (F, 3, 3)."""
    grid = pixel_grid(*size, device=K.device).reshape(-1, 2)
    return rays(grid.expand(len(K), -1, -1), K)
