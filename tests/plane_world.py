"""Textured rectangles seen by a pinhole camera: images with exact depth, flow and motion, computed ray by ray."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry import camera, rigid


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in world space; its motion is a displacement a frame."""

    centre: tuple[float, float, float]
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    """Half edges; `right` and `down` are orthogonal."""
    seed: int
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    texels_per_unit: float = 40.0


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees at one time."""

    image: Tensor
    """(3, H, W) in [0, 1]."""
    depth: Tensor
    """(H, W) z."""
    object_id: Tensor
    """(H, W) int64, -1 where nothing is hit."""


ROOM = (
    Rectangle((0, 0, 8), (9, 0, 0), (0, 6, 0), 1, texels_per_unit=12),
    Rectangle((0, 1.5, 5), (9, 0, 0), (0, 0, -5), 2, texels_per_unit=12),
    Rectangle((-2.4, 0, 5), (0, 0, 3), (0, 2, 0), 3, texels_per_unit=14),
    Rectangle((1.3, 0.6, 4), (0.7, 0, 0.2), (0, 0.9, 0), 4, texels_per_unit=24),
)
MOVER = Rectangle((-0.4, 0.75, 3.2), (0.55, 0, 0), (0, 0.7, 0), 5, (0.09, 0.0, 0.05), 28)


def texture(seed: int, size: int = 512) -> Tensor:
    """(3, size, size) noise with a 1/f-like spectrum in [0, 1]; wraps around."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(rng.standard_normal((3, size, size))) / (frequency + 0.02)
    spectrum[:, frequency > 0.3] = 0
    noise = np.fft.ifft2(spectrum).real
    noise -= noise.mean((1, 2), keepdims=True)
    return torch.from_numpy(np.clip(0.5 + 0.22 * noise / noise.std(), 0, 1)).float()


def render(
    shapes: tuple[Rectangle, ...], K: Tensor, cam2world: Tensor, time: int, size: tuple[int, int]
) -> View:
    """The view of one camera, K (3, 3) and cam2world (4, 4) float64, at an integer time."""
    height, width = size
    rays = camera.unproject(torch.ones(height, width, dtype=torch.float64), K)
    directions, origin = rays @ cam2world[:3, :3].T, cam2world[:3, 3]
    depth = torch.full(size, torch.inf, dtype=torch.float64)
    image = torch.full((3, height, width), 0.5)
    object_id = torch.full(size, -1)
    for number, shape in enumerate(shapes):
        right = torch.tensor(shape.right, dtype=torch.float64)
        down = torch.tensor(shape.down, dtype=torch.float64)
        velocity = torch.tensor(shape.velocity, dtype=torch.float64)
        centre = torch.tensor(shape.centre, dtype=torch.float64) + time * velocity
        normal = torch.linalg.cross(right, down)
        z = ((centre - origin) @ normal) / (directions @ normal)
        local = origin + z[..., None] * directions - centre
        u, v = local @ right / right.norm() ** 2, local @ down / down.norm() ** 2
        hit = (z > 0.05) & (z < depth) & (u.abs() <= 1) & (v.abs() <= 1)
        texels = torch.stack((u * right.norm(), v * down.norm()), -1) * shape.texels_per_unit
        colour = torch.nn.functional.grid_sample(
            texture(shape.seed)[None],
            ((texels / 256 + 1) % 2 - 1).float()[None],
            align_corners=False,
            padding_mode="reflection",
        )[0]
        image = torch.where(hit, colour, image)
        depth = torch.where(hit, z, depth)
        object_id = torch.where(hit, number, object_id)
    return View(image, depth, object_id)


def true_flow(
    shapes: tuple[Rectangle, ...],
    K: Tensor,
    view: View,
    cam2world_1: Tensor,
    cam2world_2: Tensor,
    frames: int,
) -> Tensor:
    """Flow (H, W, 2) of a view's pixels to a second camera `frames` later."""
    points = rigid.transform_map(cam2world_1, camera.unproject(view.depth, K))
    velocity = torch.tensor([s.velocity for s in shapes], dtype=torch.float64)
    moved = points + frames * velocity[view.object_id]
    target = camera.project_map(rigid.transform_map(rigid.invert(cam2world_2), moved), K)
    return target - camera.pixel_grid(*view.depth.shape, dtype=torch.float64)


def pose(rotation: tuple[float, float, float], position: tuple[float, float, float]) -> Tensor:
    """cam2world (4, 4) float64 from an axis-angle vector and a position."""
    w = torch.tensor(rotation, dtype=torch.float64)
    return rigid.rigid(rigid.so3_exp(w), torch.tensor(position, dtype=torch.float64))
