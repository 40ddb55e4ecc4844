"""Exact toy pairs for tests of training: a tilted textured wall and a moving textured disc, seen by two cameras."""

import torch
from torch import Tensor

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, project_map, rays
from dpm_cli.geometry.rigid import invert, rigid, rotate_map, so3_exp, transform_map
from dpm_cli.structures import PairTruth


def toy_pairs(batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
    """B exact pairs; the wall is static, the disc moves by one vector."""
    height, width = size

    def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    focal = uniform(low=0.8, high=1.6) * width
    K = intrinsics_matrix(focal, height, width)
    T21 = rigid(so3_exp(uniform(3) * 0.02), uniform(3) * torch.tensor((0.15, 0.1, 0.15)))
    wall = torch.cat((uniform(2) * 0.3, uniform(1, low=3.0, high=6.0)), 1)
    disc = torch.cat((uniform(2) * 0.5, uniform(1, low=1.5, high=2.5)), 1)
    move = uniform(3) * torch.tensor((0.15, 0.1, 0.1))
    waves = uniform(2, 12, 2) * 9
    pixels = pixel_grid(height, width).reshape(-1, 2)
    ray1 = rays(pixels, K).unflatten(1, size)
    views = []
    for view in (0, 1):
        T = invert(T21) if view else torch.eye(4).expand(batch, 4, 4)
        direction, origin = rotate_map(T, ray1), T[:, :3, 3][:, None, None]
        views.append(_see(direction, origin, wall, disc + view * move, waves))
    images = torch.stack([v[0] for v in views], 1)
    own = torch.stack([v[1] for v in views], 1)
    moving = torch.stack([v[2] for v in views], 1)
    shift = moving[..., None] * move[:, None, None, None]
    points = torch.stack(
        (
            torch.stack((own[:, 0], own[:, 0] + shift[:, 0]), 1),
            torch.stack((own[:, 1] - shift[:, 1], own[:, 1]), 1),
        ),
        1,
    )
    later = transform_map(T21, points[:, 0, 1])
    landing = torch.stack((project_map(later, K), project_map(points[:, 1, 0], K)), 1)
    flow = landing - pixel_grid(height, width)
    depth = torch.stack((later[..., 2], points[:, 1, 0, ..., 2]), 1)
    inside = (landing >= 0).all(-1) & (landing <= torch.tensor((width - 1, height - 1))).all(-1)
    return PairTruth(
        images=images,
        points=points,
        valid=torch.ones(batch, 2, 2, height, width, dtype=torch.bool),
        moving=moving,
        visible=inside & (depth > 0.1) & ~_hidden(points, moving, T21, disc, move),
        flow=flow,
        intrinsics=K[:, None].repeat(1, 2, 1, 1),
        cam2_from_cam1=T21,
        supervision=torch.zeros(batch, dtype=torch.long),
    )


_RADIUS = 0.4


def _see(direction: Tensor, origin: Tensor, wall: Tensor, disc: Tensor, waves: Tensor):
    """Image (B, 3, H, W), points (B, H, W, 3) and disc mask of one camera; everything in camera 1's frame."""
    a, b, d = (wall[:, i, None, None] for i in range(3))
    t_wall = (d + a * origin[..., 0] + b * origin[..., 1] - origin[..., 2]) / (
        direction[..., 2] - a * direction[..., 0] - b * direction[..., 1]
    )
    centre = disc[:, None, None]
    t_disc = (centre[..., 2] - origin[..., 2]) / direction[..., 2]
    on_disc = origin + t_disc[..., None] * direction
    hit = (on_disc - centre)[..., :2].norm(dim=-1) < _RADIUS
    points = torch.where(hit[..., None], on_disc, origin + t_wall[..., None] * direction)
    surface = torch.where(hit[..., None], on_disc - centre, points)[..., :2]
    phases = torch.einsum("bhwc,bkfc->bhwkf", surface, waves)
    colours = phases.sin().unflatten(-1, (3, 4)).mean(-1) * 0.9 + 0.5
    chosen = torch.where(hit[..., None], colours[..., 1, :], colours[..., 0, :])
    return chosen.permute(0, 3, 1, 2).clamp(0, 1), points, hit


def _hidden(points: Tensor, moving: Tensor, T21: Tensor, disc: Tensor, move: Tensor) -> Tensor:
    """(B, 2, H, W) wall points that the disc covers in the other image."""
    masks = []
    for view in (0, 1):
        eye = torch.zeros_like(disc) if view else invert(T21)[:, :3, 3]
        place = (disc if view else disc + move)[:, None, None]
        target = points[:, view, 1 - view]
        start = eye[:, None, None]
        step = (place[..., 2] - start[..., 2]) / (target[..., 2] - start[..., 2])
        crossing = start + step[..., None] * (target - start)
        masks.append((crossing - place)[..., :2].norm(dim=-1) < _RADIUS)
    return torch.stack(masks, 1) & ~moving
