"""Materials, light, sky and film of scenes, drawn from their seeds.

A material row has 21 numbers: colour matrix 3 x 3 and bias 3 (albedo = matrix @ texel + bias), texels per scene
unit of the two layers, their offsets (u1, v1, u2, v2), weight of the detail layer, specular strength and sharpness.
"""

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic import textures
from dpm_cli.workshop.synthetic.scene import Film, Looks
from dpm_cli.workshop.synthetic.seeds import Draw, seed_split

_TEXELS_ACROSS = 240.0
"""Texture cells across the image's width at an object's usual distance, before scatter."""


def _materials(draw: Draw, n: int, distance: Tensor, focal: Tensor) -> Tensor:
    permutation = draw.choice("look/permutation", (1.0,) * 6, n)
    table = torch.tensor(
        ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)),
        device=permutation.device,
    )
    mixing = torch.nn.functional.one_hot(table[permutation], 3).float()
    grey = draw.uniform("look/grey", n, 1, 1, low=0.2, high=0.95)
    mixing = mixing * (1 - grey) + grey / 3
    contrast = draw.uniform("look/contrast", n, low=0.5, high=1.5)
    contrast = torch.where(draw.chance("look/plain", n, p=0.1), 0.08 * contrast, contrast)
    contrast = contrast * torch.where(draw.chance("look/inverse", n, p=0.3), -1.0, 1.0)
    tint = draw.uniform("look/tone", n, 1, low=0.2, high=0.8) + 0.05 * draw.normal(
        "look/tint", n, 3
    )
    bias = tint - 0.5 * contrast[..., None]
    density = _TEXELS_ACROSS * focal[:, None] / distance[:, None]
    coarse = density * draw.log_uniform("look/density", n, low=0.12, high=1.2)
    fine = coarse * draw.log_uniform("look/fine", n, low=2.5, high=7)
    offsets = draw.uniform("look/offset", n, 4, high=float(textures.SIDE))
    detail = draw.uniform("look/detail", n, low=0.0, high=0.9)
    shine = draw.uniform("look/shine", n, low=-0.5, high=0.5).clamp_min(0)
    sharpness = draw.log_uniform("look/sharpness", n, low=8, high=80)
    columns = (mixing * contrast[..., None, None]).flatten(-2)
    rest = torch.stack((coarse, fine, *offsets.unbind(-1), detail, shine, sharpness), -1)
    return torch.cat((columns, bias, rest), -1)


def draw_looks(draw: Draw, n: int, distance: Tensor, focal: Tensor) -> Looks:
    """Materials and light of B scenes with n slots; distance and focal (B,) set the scale of the textures."""
    index = draw.choice("look/texture", (1.0,) * textures.POOL, n, 2)
    sky = draw.choice("look/clouds", (1.0,) * textures.POOL, 1, 1)
    # Clouds are 1/f noise: kind 3 of every eight textures (`textures.py`).
    sky = sky // 8 * 8 + 3
    texels, start = textures.gather_textures(
        seed_split(draw.seeds), torch.cat((index.flatten(1), sky[..., 0]), 1)
    )
    light = draw.direction("light/direction")
    light = torch.stack((light[:, 0], -light[:, 1].abs() - 0.35, light[:, 2]), -1)
    strength = draw.uniform("light/strength", 1, low=0.35, high=1.0)
    warm = draw.normal("light/warmth", 1) * torch.tensor((0.08, 0.0, -0.08)).to(strength)
    horizon = torch.stack((0.72 + 0 * warm[:, 0], 0.78 + 0 * warm[:, 0], 0.86 + 0 * warm[:, 0]), -1)
    horizon = horizon + 0.1 * draw.normal("sky/horizon", 3)
    zenith = horizon * draw.uniform("sky/zenith", 3, low=0.35, high=0.95)
    haze = draw.uniform("sky/haze", low=-0.02, high=0.03).clamp_min(0) / distance
    return Looks(
        material=_materials(draw, n, distance, focal),
        texture_start=start[:, : 2 * n].unflatten(1, (n, 2)),
        sky_start=start[:, -1],
        texels=texels,
        light=torch.nn.functional.normalize(light, dim=-1),
        light_colour=strength * (1 + warm),
        ambient=draw.uniform("light/ambient", 1, low=0.25, high=0.6) * (1 - 0.5 * warm),
        sky_colour=torch.stack((horizon, zenith), 1).clamp(0.05, 1),
        haze=haze,
    )


def draw_film(draw: Draw) -> Film:
    """Exposure, noise and blur of B clips."""
    flicker = torch.stack(
        (
            0.15 * draw.uniform("film/flicker") * draw.chance("film/flickers", p=0.35),
            draw.log_uniform("film/flicker_pace", low=0.05, high=0.8),
            draw.uniform("film/flicker_phase", high=6.28),
        ),
        -1,
    )
    return Film(
        gain=draw.log_uniform("film/gain", low=0.25, high=0.5),
        flicker=flicker,
        gamma=draw.uniform("film/gamma", low=0.6, high=0.95),
        noise=draw.uniform("film/noise", low=-0.008, high=0.03).clamp_min(0),
        blur=draw.uniform("film/blur", low=0.35, high=0.75),
        shutter=draw.uniform("film/shutter", low=-0.6, high=0.7).clamp_min(0),
        blocks=draw.uniform("film/blocks", low=-0.12, high=0.1).clamp_min(0),
    )
