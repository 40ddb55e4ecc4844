"""What can be done to a batch of pairs without rendering again: swapped views, mirrors, crops, light and noise.

Every function takes and returns a PairTruth that stays exact: points, flow, cameras and pixels change together.
"""

from dataclasses import replace

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import invert, transform_map
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.training_crop import crop_resize


def swap(truth: PairTruth, chosen: Tensor) -> PairTruth:
    """Exchange image 1 and 2 (time runs backwards, camera 2 becomes the reference) where `chosen` (B,) bool."""
    T = truth.cam2_from_cam1
    points = transform_map(T[:, None, None], truth.points).flip(1, 2)
    return PairTruth(
        images=_pick(chosen, truth.images.flip(1), truth.images),
        points=_pick(chosen, points, truth.points),
        valid=_pick(chosen, truth.valid.flip(1, 2), truth.valid),
        moving=_pick(chosen, truth.moving.flip(1), truth.moving),
        visible=_pick(chosen, truth.visible.flip(1), truth.visible),
        flow=_pick(chosen, truth.flow.flip(1), truth.flow),
        intrinsics=_pick(chosen, truth.intrinsics.flip(1), truth.intrinsics),
        cam2_from_cam1=_pick(chosen, invert(T), T),
        supervision=truth.supervision,
    )


def mirror(truth: PairTruth, chosen: Tensor) -> PairTruth:
    """Mirror left and right where `chosen` (B,) bool; the world is mirrored with the images."""
    width = truth.images.shape[-1]
    M = torch.diag(torch.tensor((-1.0, 1, 1, 1), device=truth.points.device))
    sign = torch.tensor((-1.0, 1, 1), device=truth.points.device)
    K = truth.intrinsics.clone()
    K[..., 0, 2] = width - 1 - K[..., 0, 2]
    return PairTruth(
        images=_pick(chosen, truth.images.flip(-1), truth.images),
        points=_pick(chosen, truth.points.flip(-2) * sign, truth.points),
        valid=_pick(chosen, truth.valid.flip(-1), truth.valid),
        moving=_pick(chosen, truth.moving.flip(-1), truth.moving),
        visible=_pick(chosen, truth.visible.flip(-1), truth.visible),
        flow=_pick(chosen, truth.flow.flip(-2) * sign[:2], truth.flow),
        intrinsics=_pick(chosen, K, truth.intrinsics),
        cam2_from_cam1=_pick(chosen, M @ truth.cam2_from_cam1 @ M, truth.cam2_from_cam1),
        supervision=truth.supervision,
    )


def photometric(images: Tensor, generator: torch.Generator) -> Tensor:
    """Light, contrast, gamma, tint, blur and noise for images (B, 2, 3, H, W); both views nearly alike.

    Random numbers are drawn on the CPU, so a step is the same on every device.
    """
    batch = len(images)

    def draw(*shape: int, spread: float) -> Tensor:
        return ((torch.rand(batch, *shape, generator=generator) * 2 - 1) * spread).to(images.device)

    gain = 1 + draw(1, 3, 1, 1, spread=0.1) + draw(2, 1, 1, 1, spread=0.05)
    gain = gain * (1 + draw(1, 1, 1, 1, spread=0.3))
    lift = draw(1, 1, 1, 1, spread=0.1) + draw(2, 1, 1, 1, spread=0.02)
    gamma = (draw(1, 1, 1, 1, spread=0.4)).exp()
    out = (images.clamp(1e-4, 1) ** gamma - 0.5) * gain + 0.5 + lift
    grey = out.mean(2, keepdim=True)
    dull = draw(1, 1, 1, 1, spread=0.5).clamp_min(0)
    out = out + (grey - out) * dull
    noise = draw(1, 1, 1, 1, spread=0.04).clamp_min(0)
    seed = int(torch.randint(1 << 31, (1,), generator=generator))
    white = torch.Generator(images.device).manual_seed(seed)
    grain = torch.randn(images.shape, generator=white, device=images.device)
    return (out + noise * grain).clamp(0, 1)


def augment(truth: PairTruth, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
    """All of the above with chance one half each; `size` is what the network gets."""
    batch, device = len(truth.images), truth.images.device
    chance = torch.rand(2, batch, generator=generator).to(device)
    truth = crop_resize(truth, size)
    truth = mirror(swap(truth, chance[0] < 0.5), chance[1] < 0.5)
    return replace(truth, images=photometric(truth.images, generator))


def _pick(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *(1,) * (one.dim() - 1)), one, other)
