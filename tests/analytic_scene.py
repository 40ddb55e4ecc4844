"""A scene in closed form for tests: ellipsoids inside a large ellipsoid, one of them moving, a camera on a curve.

Everything is float64 and exact, so it can prove reductions and alignment without the renderer.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, project_map, rays
from dpm_cli.geometry.rigid import invert, rigid, se3_exp, transform_map
from dpm_cli.structures import PairTruth

RADII = torch.tensor(
    [[6.0, 4.0, 7.0], [0.6, 0.9, 0.5], [0.8, 0.5, 0.7], [0.5, 0.5, 0.5], [0.4, 0.7, 0.4]],
    dtype=torch.float64,
)
CENTRES = torch.tensor(
    [[0, 0, 2.0], [-1.4, 0.4, 3.5], [1.5, -0.6, 4.5], [0.9, 0.9, 2.8], [-0.2, -0.3, 3.2]],
    dtype=torch.float64,
)
MOVER = 4


@dataclass(frozen=True, eq=False)
class AnalyticClip:
    """T frames; `cam2world` (T, 4, 4) with the first the identity, `object_pose` (T, N, 4, 4), K (3, 3)."""

    cam2world: Tensor
    object_pose: Tensor
    K: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cam2world)

    @property
    def path_length(self) -> float:
        return float(self.cam2world[:, :3, 3].diff(dim=0).norm(dim=-1).sum())

    @lru_cache(maxsize=64)  # noqa: B019 - clips live as long as the test session
    def hit(self, t: int) -> tuple[Tensor, Tensor]:
        """World points (H, W, 3) that frame t sees and the number of the object (H, W)."""
        height, width = self.size
        pixels = pixel_grid(height, width, dtype=torch.float64).reshape(-1, 2)
        direction = rays(pixels, self.K) @ self.cam2world[t, :3, :3].T
        origin = self.cam2world[t, :3, 3]
        depths = []
        for n in range(len(RADII)):
            local = invert(self.object_pose[t, n])
            o = (local[:3, :3] @ origin + local[:3, 3]) / RADII[n]
            d = (direction @ local[:3, :3].T) / RADII[n]
            a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - 1
            root = (b * b - a * c).clamp_min(0).sqrt()
            near = (-b + root) / a if n == 0 else (-b - root) / a
            missed = (b * b < a * c) | (near <= 0.05)
            depths.append(torch.where(missed, torch.inf, near))
        depth, number = torch.stack(depths).min(0)
        return (origin + direction * depth[:, None]).unflatten(0, self.size), number.unflatten(
            0, self.size
        )

    def at(self, points: Tensor, number: Tensor, t: int, other: int) -> Tensor:
        """World points (H, W, 3) of time t, moved with their objects to time `other`."""
        motion = self.object_pose[other] @ invert(self.object_pose[t])
        moved = points
        for n in range(len(RADII)):
            moved = torch.where((number == n)[..., None], transform_map(motion[n], points), moved)
        return moved

    def pair(self, i: int, j: int) -> PairTruth:
        """Exact truth of one directed pair (B = 1)."""
        hits = (self.hit(i), self.hit(j))
        world = torch.stack(
            [
                torch.stack([self.at(*h, t, o) for o in (i, j)])
                for h, t in zip(hits, (i, j), strict=True)
            ]
        )
        points = transform_map(invert(self.cam2world[i]), world)
        T = invert(self.cam2world[j]) @ self.cam2world[i]
        landing = torch.stack(
            (project_map(transform_map(T, points[0, 1]), self.K), project_map(points[1, 0], self.K))
        )
        moving = torch.stack([(world[v, 1] - world[v, 0]).norm(dim=-1) > 1e-9 for v in (0, 1)])
        return PairTruth(
            images=torch.zeros(1, 2, 3, *self.size),
            points=points[None].float(),
            valid=torch.ones(1, 2, 2, *self.size, dtype=torch.bool),
            moving=moving[None],
            visible=self._visible(points, T, landing)[None],
            flow=(landing - pixel_grid(*self.size, dtype=torch.float64))[None].float(),
            intrinsics=self.K.expand(1, 2, 3, 3).float(),
            cam2_from_cam1=T[None].float(),
            supervision=torch.zeros(1, dtype=torch.int64),
        )

    def _visible(self, points: Tensor, T: Tensor, landing: Tensor) -> Tensor:
        """By casting: what the other image sees at the landing pixel, rounded, is not nearer."""
        depth = torch.stack((points[0, 0, ..., 2], transform_map(T, points[1, 1])[..., 2]))
        there = torch.stack((transform_map(T, points[0, 1])[..., 2], points[1, 0, ..., 2]))
        height, width = self.size
        x, y = landing.round().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (there > 0)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)
        seen = depth.flip(0).flatten(1).gather(1, index).unflatten(1, self.size)
        return inside & (there < 1.02 * seen)


def analytic_clip(
    frames: int,
    *,
    size: tuple[int, int] = (72, 128),
    focal_px: float | None = None,
    step: float = 0.05,
    motion: str = "curve",
) -> AnalyticClip:
    """A clip whose camera moves by about `step` a frame ('curve'), only turns ('rotation') or stands ('still')."""
    t = torch.arange(frames, dtype=torch.float64)[:, None]
    place = torch.cat((t * step, 0.15 * torch.sin(t / 4), 0.3 * torch.sin(t * step)), 1)
    turn = torch.cat((0.02 * torch.sin(t / 3), -t * step / 5, 0.02 * torch.sin(t / 5)), 1)
    place = place * (motion == "curve")
    turn = turn * (motion != "still")
    cam2world = rigid(se3_exp(torch.cat((0 * turn, turn), 1))[:, :3, :3], place)
    cam2world = invert(cam2world[:1]) @ cam2world
    pose = rigid(
        torch.eye(3, dtype=torch.float64).expand(frames, len(RADII), 3, 3),
        CENTRES.expand(frames, -1, 3),
    )
    drift = torch.cat((0.06 * t, 0 * t, 0.02 * t, 0 * t, 0.05 * t, 0.03 * t), 1)
    pose = pose.clone()
    own = se3_exp(drift)
    pose[:, MOVER] = rigid(own[:, :3, :3], CENTRES[MOVER] + own[:, :3, 3])
    K = intrinsics_matrix(torch.tensor(focal_px or 0.9 * size[1], dtype=torch.float64), *size)
    return AnalyticClip(cam2world, pose, K, size)
