"""From light to pixels: exposure, gamma, point spread, motion blur, block artefacts, noise.

None of it moves anything, so the truth stays exact. Noise is a hash of (seed, frame, pixel): the same on every device.
"""

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.scene import Film
from dpm_cli.workshop.synthetic.seeds import mix


@hot
def develop(
    film: Film, light: Tensor, level: Tensor, seeds: Tensor, times: Tensor, smear: Tensor | None
) -> Tensor:
    """Images (B, T, 3, H, W) uint8 from radiance of the same shape.

    Args:
        film: of the B clips.
        light: radiance.
        level: (B,) mean radiance of the clip's first frame, which exposure is set by.
        seeds: (B,).
        times: (B, T) in frames.
        smear: (B, T, 2, H, W) image motion in pixels per frame, for motion blur; None = none.
    """
    t = times.to(light)
    amount, pace, phase = film.flicker.unbind(-1)
    metered = film.gain / level.clamp_min(0.02)
    gain = metered[:, None] * (amount[:, None] * (pace[:, None] * t + phase[:, None]).sin()).exp()
    if smear is not None:
        light = _motion_blur(light, smear * film.shutter[:, None, None, None, None])
    image = (light * gain[..., None, None, None]).clamp_min(1e-6) ** film.gamma[
        :, None, None, None, None
    ]
    # A soft shoulder keeps highlights from clipping flat, as film and phones do.
    image = torch.where(image > 0.8, 0.8 + 0.2 * ((image - 0.8) / 0.2).tanh(), image)
    image = _blocks(_spread(image, film.blur), film.blocks)
    noise = pixel_noise(seeds, times, (image.shape[-2], image.shape[-1]))
    image = image + film.noise[:, None, None, None, None] * noise
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def pixel_noise(seeds: Tensor, times: Tensor, size: tuple[int, int]) -> Tensor:
    """Near-normal noise (B, T, 3, H, W), deviation 1: the sum of four bytes of one hash a channel."""
    height, width = size
    stream = mix(seeds[:, None] * 1000003 + times.long() * 7919 + 17)
    counter = torch.arange(3 * height * width, device=seeds.device)
    bits = mix(stream[..., None] + counter * -7046029254386353131)
    total = (bits & 255) + (bits >> 16 & 255) + (bits >> 32 & 255) + (bits >> 48 & 255)
    return ((total - 510).float() / 147.8).reshape(*stream.shape, 3, height, width)


def _spread(image: Tensor, sigma: Tensor) -> Tensor:
    """Separable 3-tap point spread of deviation `sigma` (B,) pixels."""
    side = (-0.5 / sigma.clamp_min(0.2) ** 2).exp()
    weight = (side / (1 + 2 * side))[:, None, None, None, None]
    for dim in (-1, -2):
        n = image.shape[dim]
        first, last = image.narrow(dim, 0, 1), image.narrow(dim, n - 1, 1)
        before = torch.cat((first, image.narrow(dim, 0, n - 1)), dim)
        after = torch.cat((image.narrow(dim, 1, n - 1), last), dim)
        image = image + weight * (before + after - 2 * image)
    return image


def _motion_blur(light: Tensor, smear: Tensor, taps: int = 5) -> Tensor:
    """Mean of the light along each pixel's own motion during the open time (B, T, 2, H, W) pixels."""
    height, width = light.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=light.device),
        torch.arange(width, device=light.device),
        indexing="ij",
    )
    flat, step = light.flatten(0, 1), smear.flatten(0, 1)
    scale = torch.tensor((2 / (width - 1), 2 / (height - 1)), device=light.device)
    out = torch.zeros_like(flat)
    for k in range(taps):
        part = (k / (taps - 1) - 0.5) * step
        grid = torch.stack((x + part[:, 0], y + part[:, 1]), -1) * scale - 1
        out += torch.nn.functional.grid_sample(
            flat, grid, padding_mode="border", align_corners=True
        )
    return (out / taps).view_as(light)


def _blocks(image: Tensor, step: Tensor) -> Tensor:
    """Quantise the cosines of 8 x 8 blocks with a step that grows with frequency, as JPEG and video codecs do."""
    height, width = image.shape[-2:]
    if height % 8 or width % 8:
        return image
    if torch.compiler.is_compiling():  # masks instead of lists, see deform.py
        coarse = _quantised(image, step.clamp_min(1e-3))
        return torch.where((step > 0)[:, None, None, None, None], coarse, image)
    used = (step > 0).nonzero()[:, 0]
    if not len(used):
        return image
    out = image.clone()
    out[used] = _quantised(image[used], step[used])
    return out


def _quantised(image: Tensor, step: Tensor) -> Tensor:
    k = torch.arange(8, device=image.device, dtype=image.dtype)
    basis = ((2 * k[None] + 1) * k[:, None] * torch.pi / 16).cos() * 0.5
    basis[0] *= 0.5**0.5
    tile = image.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-2, -3)
    cosines = basis @ tile @ basis.T
    grow = 0.3 + (k[None] + k[:, None]) / 4
    quantum = step[(...,) + (None,) * (cosines.ndim - 1)] * grow
    coarse = (cosines / quantum).round() * quantum
    return (basis.T @ coarse @ basis).transpose(-2, -3).flatten(-2).flatten(-3, -2)
