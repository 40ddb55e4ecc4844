"""MoGe-2's network: one image to an affine point map, a mask of what has a place in space, and a metric scale.

    image -> DINOv2 at 14 px a token -> neck -> points head  -> (x, y, z), unknown along z by one shift
                     |                   |----> mask head    -> probability of a finite surface
                     |                   +----> normal head  -> unit vectors
                     +-> class token -> scale head           -> metres per unit

The number of tokens sets cost and detail; the maps come at the image's own size whatever it is.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.attention import full_precision
from dpm_cli.network.dinov2 import ImageVit
from dpm_cli.network.moge.config import LEVELS, MogeConfig
from dpm_cli.network.moge.pyramid import Pyramid, view_plane

SCALE_OFFSET = 0.1
"""DINOv2's: added to the wanted grid when the position embeddings are resampled."""


@dataclass(frozen=True, eq=False)
class MogeMaps:
    """What the network says of B images."""

    points: Tensor
    """(B, H, W, 3) in the camera's frame up to one scale and one shift along z an image."""
    mask: Tensor
    """(B, H, W) probability that there is a surface: sky and the like have none."""
    normal: Tensor | None
    """(B, H, W, 3) unit vectors, where the head is there and was asked."""
    metric_scale: Tensor
    """(B,) metres per unit of the points, once they are shifted."""


def token_grid(size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """(rows, columns) of about `tokens` tokens for an image of (height, width)."""
    height, width = size
    return (
        max(1, round(math.sqrt(tokens * height / width))),
        max(1, round(math.sqrt(tokens * width / height))),
    )


class ImageEncoder(nn.Module):
    """Images to one map at the token grid and a class token."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: MogeConfig):
        super().__init__()
        self.taps = config.taps
        self.backbone = ImageVit(
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            patch_size=config.patch_size,
            position_grid=config.position_grid,
            scale_offset=SCALE_OFFSET,
        )
        self.output_projections = nn.ModuleList(
            nn.Conv2d(config.width, config.encoder_channels, 1) for _ in config.taps
        )
        self.register_buffer("image_mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("image_std", torch.ones(1, 3, 1, 1))

    def resized(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Normalised images (B, 3, 14 rows, 14 columns) of images (B, 3, H, W) in [0, 1]."""
        size = [n * self.backbone.patch_embed.patch for n in grid]
        small = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return (small - self.image_mean) / self.image_std

    def forward(self, images: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Map (B, C, rows, columns) and class tokens (B, width)."""
        layers = self.backbone.layers(self.resized(images, grid), self.taps)
        patches = [layer[:, 1:].transpose(1, 2).unflatten(2, grid) for layer in layers]
        projected = (p(x) for p, x in zip(self.output_projections, patches, strict=True))
        return torch.stack(list(projected), 1).sum(1), layers[-1][:, 0]


class MogeNetwork(nn.Module):
    """Images to points, mask and scale."""

    def __init__(self, config: MogeConfig):
        super().__init__()
        self.config = config
        levels, blocks = config.levels, config.head_blocks
        inputs = (config.encoder_channels + 2, 2, 2, 2, 2)
        self.encoder = ImageEncoder(config)
        self.neck = Pyramid(inputs, levels, config.neck_blocks)
        self.points_head = Pyramid(levels, levels, blocks, 3)
        self.mask_head = Pyramid(levels, levels, blocks, 1)
        if config.normals:
            self.normal_head = Pyramid(levels, levels, blocks, 3)
        sizes = (config.width, *config.scale_hidden, 1)
        parts: list[nn.Module] = []
        for given, out in pairwise(sizes):
            parts += [nn.Linear(given, out), nn.ReLU()]
        self.scale_head = nn.Sequential(*parts[:-1])

    def features(self, images: Tensor, tokens: int) -> tuple[list[Tensor], Tensor]:
        """The neck's five maps and the class tokens (B, width) of images (B, 3, H, W) in [0, 1]."""
        height, width = images.shape[-2:]
        grid = token_grid((height, width), tokens)
        x, cls_token = self.encoder(images, grid)
        planes = [
            view_plane((grid[0] << k, grid[1] << k), width / height, images.device)
            for k in range(LEVELS)
        ]
        planes = [p.expand(len(images), -1, -1, -1) for p in planes]
        with full_precision(x):
            return self.neck([torch.cat((x.float(), planes[0]), 1), *planes[1:]]), cls_token

    def forward(self, images: Tensor, tokens: int, *, normals: bool = False) -> MogeMaps:
        """Maps of images (B, 3, H, W) in [0, 1], looked at with about `tokens` tokens each."""
        features, cls_token = self.features(images, tokens)
        size = (images.shape[-2], images.shape[-1])
        with full_precision(cls_token):
            points = remap(resized_output(self.points_head(features)[-1], size))
            mask = resized_output(self.mask_head(features)[-1], size)[:, 0].sigmoid()
            normal = None
            if normals and self.config.normals:
                raw = resized_output(self.normal_head(features)[-1], size)
                normal = F.normalize(raw.movedim(1, -1), dim=-1)
            scale = self.scale_head(cls_token.float())[:, 0].exp()
        return MogeMaps(points, mask, normal, scale)


def resized_output(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw channels (B, C, h, w) at the image's size, before anything else is done to them."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def remap(raw: Tensor) -> Tensor:
    """Points (B, H, W, 3) of raw channels (B, 3, H, W): z = e^r, x and y are slopes times z."""
    x, y, log_z = raw.unbind(1)
    z = log_z.exp()
    return torch.stack((x * z, y * z, z), -1)
