"""Exact truth of rendered clips, kept compactly: depth, object numbers and the state of every object at every frame.

A pixel's material point X follows from depth; its place at any other frame is A(t) phi_t(X). So all four dynamic point
maps of any pair of frames, at any stride, are exact, without storing one map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.camera import project_map, unproject
from dpm_cli.geometry.rigid import invert, transform_map
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.synthetic import deform
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.raycast import affine

PER_FRAME = (
    "images",
    "depth",
    "object_id",
    "intrinsics",
    "cam2world",
    "pose",
    "scale",
    "deform",
    "time",
)
"""Fields of `ClipTruth` that have a frame axis."""
MOVING_SHARE = 1e-3
"""A pixel moves if its displacement exceeds this share of its depth."""
_SHARE_SEEN = 0.3
_DEPTH_SLACK = 0.01
FLOW_LIMIT = 10.0
"""Flow of points that pass behind the camera is held at this many image sizes."""


@dataclass(frozen=True, eq=False)
class ClipTruth:
    """B clips of T frames with N object slots; the world here is the scene's own."""

    images: Tensor
    """(B, T, 3, H, W) uint8."""
    depth: Tensor
    """(B, T, H, W) float32, z; 0 at the sky."""
    object_id: Tensor
    """(B, T, H, W) int16 slot: 0 background, -1 sky."""
    intrinsics: Tensor
    """(B, T, 3, 3) float32 pixels."""
    cam2world: Tensor
    """(B, T, 4, 4)."""
    pose: Tensor
    """(B, T, N, 4, 4) world from object, rigid."""
    scale: Tensor
    """(B, T, N, 3) scene units per unit coordinate."""
    deform: Tensor
    """(B, T, N, 8) parameters of phi_t."""
    kind: Tensor
    """(B, N) int64 shape of each slot."""
    mover: Tensor
    """(B, N) bool."""
    instance: Tensor
    """(B, N) int64 group that a slot belongs to."""
    time: Tensor
    """(B, T) float32 in frames of the scene."""
    seed: Tensor
    """(B,) int64."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.depth.shape[-2], self.depth.shape[-1]

    @staticmethod
    def join(parts: "list[ClipTruth]") -> "ClipTruth":
        """One batch out of several."""
        if len(parts) == 1:
            return parts[0]
        return ClipTruth(**{k: torch.cat([getattr(p, k) for p in parts]) for k in vars(parts[0])})

    @staticmethod
    def join_frames(parts: "list[ClipTruth]") -> "ClipTruth":
        """Consecutive frames of the same clips."""
        if len(parts) == 1:
            return parts[0]
        rows = {k: torch.cat([getattr(p, k) for p in parts], 1) for k in PER_FRAME}
        return ClipTruth(**{**vars(parts[0]), **rows})

    def __len__(self) -> int:
        return len(self.depth)

    def select(self, clips: Tensor | slice) -> "ClipTruth":
        """Some of the clips."""
        return ClipTruth(**{k: v[clips] for k, v in vars(self).items()})

    def to(self, device) -> "ClipTruth":
        """The same on another device."""
        return ClipTruth(**{k: v.to(device) for k, v in vars(self).items()})

    def _rows(self, frames: int | Tensor) -> tuple[Tensor, Tensor]:
        clip = torch.arange(len(self), device=self.depth.device)
        return clip, torch.as_tensor(frames, device=clip.device).expand(len(self))

    def points(self, i: int | Tensor, j: int | Tensor) -> Tensor:
        """World points (B, H, W, 3) that frame i sees, where they are at frame j; i, j are numbers or (B,)."""
        clip, i = self._rows(i)
        _, j = self._rows(j)
        depth, cam2world = self.depth[clip, i], self.cam2world[clip, i]
        now = transform_map(cam2world, unproject(depth, self.intrinsics[clip, i]))
        slot = self.object_id[clip, i].long().clamp_min(0)
        goes = self.mover[clip[:, None, None], slot] & (i != j)[:, None, None]
        if torch.compiler.is_compiling():  # masks instead of lists, see deform.py
            row = clip.repeat_interleave(depth[0].numel())
            moved = self._carry(now.reshape(-1, 3).T, row, slot.flatten(), i, j)
            return torch.where(goes[..., None], moved.T.reshape(now.shape), now)
        pixel = goes.flatten().nonzero()[:, 0]
        if not len(pixel):
            return now
        row = torch.div(pixel, depth[0].numel(), rounding_mode="floor")
        moved = self._carry(now.reshape(-1, 3)[pixel].T, row, slot.flatten()[pixel], i, j)
        out = now.reshape(-1, 3).clone()
        out[pixel] = moved.T
        return out.view_as(now)

    def moves(self, i: int | Tensor, j: int | Tensor) -> Tensor:
        """True (B, H, W) where the point of a pixel of frame i is elsewhere in the world at frame j."""
        clip, i = self._rows(i)
        shift = (self.points(i, j) - self.points(i, i)).norm(dim=-1)
        depth = self.depth[clip, i]
        return (depth > 0) & (shift > MOVING_SHARE * depth)

    def _carry(self, world: Tensor, clip: Tensor, slot: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """World points (3, M) of clips (M,) and slots (M,) at frames i (B,), at frames j (B,)."""
        every = torch.arange(len(self), device=clip.device)
        entry = clip * self.scale.shape[2] + slot
        kind = self.kind.flatten()[entry]

        def state(frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            forward, inverse = affine(self.pose[every, frame], self.scale[every, frame])
            tables = forward, inverse, self.deform[every, frame, :, :, None]
            return tuple(t.flatten(0, 1).flatten(1).T.contiguous()[:, entry] for t in tables)  # pyright: ignore

        def move(m: Tensor, p: Tensor) -> Tensor:
            return torch.stack([(m[4 * k : 4 * k + 3] * p).sum(0) + m[4 * k + 3] for k in range(3)])

        _, inverse, bend = state(i)
        unit = deform.apply(kind, move(inverse, world), bend, inverse=True)
        forward, _, bend = state(j)
        return move(forward, deform.apply(kind, unit, bend))

    @hot
    def pair(self, i: int | Tensor, j: int | Tensor) -> PairTruth:
        """Exact truth of frames i and j of every clip; i, j are numbers or (B,)."""
        clip, i = self._rows(i)
        _, j = self._rows(j)
        cam1_from_world = invert(self.cam2world[clip, i])
        cam2_from_world = invert(self.cam2world[clip, j])
        world = torch.stack(
            (
                torch.stack((self.points(i, i), self.points(i, j)), 1),
                torch.stack((self.points(j, i), self.points(j, j)), 1),
            ),
            1,
        )
        slot = torch.stack((self.object_id[clip, i], self.object_id[clip, j]), 1)
        depth = torch.stack((self.depth[clip, i], self.depth[clip, j]), 1)
        K = torch.stack((self.intrinsics[clip, i], self.intrinsics[clip, j]), 1)
        sky = slot < 0
        there = ~sky
        points = transform_map(cam1_from_world[:, None, None], world)
        shift = (world[:, :, 0] - world[:, :, 1]).norm(dim=-1)
        seen_by_other = torch.stack(
            (
                transform_map(cam2_from_world, self._far_sky(world[:, 0, 1], sky[:, 0], clip, i)),
                transform_map(cam1_from_world, self._far_sky(world[:, 1, 0], sky[:, 1], clip, j)),
            ),
            1,
        )
        flow, target = _flow(seen_by_other, K.flip(1))
        images = torch.stack((self.images[clip, i], self.images[clip, j]), 1)
        return PairTruth(
            images=images.float() / 255,
            points=points * there[:, :, None, ..., None],
            valid=there[:, :, None].expand(-1, -1, 2, -1, -1).contiguous(),
            moving=there & (shift > MOVING_SHARE * depth),
            visible=visible(seen_by_other[..., 2], target, slot, depth),
            flow=flow,
            intrinsics=K,
            cam2_from_cam1=cam2_from_world @ invert(cam1_from_world),
            supervision=torch.zeros(len(self), dtype=torch.int64, device=clip.device),
        )

    def _far_sky(self, world: Tensor, sky: Tensor, clip: Tensor, frame: Tensor) -> Tensor:
        """World points with the sky's put far away along their rays, so that its flow is that of rotation."""
        far = torch.full_like(self.depth[clip, frame], 1e5)
        away = transform_map(
            self.cam2world[clip, frame], unproject(far, self.intrinsics[clip, frame])
        )
        return torch.where(sky[..., None], away, world)

    @hot
    def flow(self, i: int | Tensor, j: int | Tensor) -> Tensor:
        """Image motion (B, H, W, 2) in pixels of what frame i sees, from frame i to frame j; the sky's by rotation."""
        clip, i = self._rows(i)
        _, j = self._rows(j)
        world = self._far_sky(self.points(i, j), self.object_id[clip, i] < 0, clip, i)
        seen = transform_map(invert(self.cam2world[clip, j]), world)
        return _flow(seen[:, None], self.intrinsics[clip, j, None])[0][:, 0]


def _flow(seen: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Flow and target pixel (B, V, H, W, 2) of points (B, V, H, W, 3) in the other camera with intrinsics K."""
    height, width = seen.shape[2:4]
    target = project_map(seen, K)
    y, x = torch.meshgrid(
        torch.arange(height, device=seen.device),
        torch.arange(width, device=seen.device),
        indexing="ij",
    )
    grid = torch.stack((x, y), -1).to(seen.dtype)
    limit = FLOW_LIMIT * max(height, width)
    return (target - grid).clamp(-limit, limit), target


def visible(z: Tensor, target: Tensor, slot: Tensor, depth: Tensor) -> Tensor:
    """Is the point of each pixel (B, 2, H, W) seen in the other image?

    Args:
        z: (B, 2, H, W) its depth in the other camera at the other time.
        target: (B, 2, H, W, 2) where it lands there.
        slot: (B, 2, H, W) object numbers of both images.
        depth: (B, 2, H, W) depth of both images.

    It is, where at least 30 % (in bilinear weights) of the four pixels around the target show the same object, and none
    of those is nearer than the point, up to their own range of depth plus 1 %. Against rays cast at the exact spot this
    errs on 1 % of the pixels, all within a pixel of an outline (test_synthetic_truth.py).
    """
    height, width = z.shape[2:]
    inside = (
        (target > -0.5).all(-1) & (target[..., 0] < width - 0.5) & (target[..., 1] < height - 0.5)
    )
    inside = inside & (z > 0)
    base = target.floor().clamp(-1e6, 1e6)
    part = target - base
    other_slot, other_depth = slot.flip(1).flatten(2), depth.flip(1).flatten(2)
    nearest, farthest, share = (
        torch.full_like(z, float("inf")),
        torch.zeros_like(z),
        torch.zeros_like(z),
    )
    for dy in (0, 1):
        for dx in (0, 1):
            x = (base[..., 0].long() + dx).clamp(0, width - 1)
            y = (base[..., 1].long() + dy).clamp(0, height - 1)
            index = (y * width + x).flatten(2)
            same = (other_slot.gather(2, index) == slot.flatten(2)).view_as(z)
            there = other_depth.gather(2, index).view_as(z)
            weight = (part[..., 0] - (1 - dx)).abs() * (part[..., 1] - (1 - dy)).abs()
            share = share + weight * same
            nearest = torch.where(same, torch.minimum(nearest, there), nearest)
            farthest = torch.where(same, torch.maximum(farthest, there), farthest)
    in_front = (slot < 0) | (z <= (1 + _DEPTH_SLACK) * farthest + (farthest - nearest))
    return inside & (share >= _SHARE_SEEN) & in_front
