"""Image tokens: a DINOv2 ViT (Oquab et al. 2023; registers: Darcet et al. 2023), as VGGT and MoGe-2 use it.

No RoPE here: positions are a learnt 37x37 grid, resampled to the patches of the image. VGGT resamples to the size with
antialiasing; MoGe kept DINOv2's first way, by scale factors a little too large and without antialiasing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.vit import Block, PatchEmbed

EPS = 1e-6
"""Of the LayerNorms of this part only; VGGT's aggregator has 1e-5."""


class ImageVit(nn.Module):
    """Images to normalised tokens, each image by itself."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        patch_size: int,
        position_grid: int,
        registers: int = 0,
        scale_offset: float = 0.0,
    ):
        """`scale_offset`: patches added to the wanted grid when positions are resampled; 0 = by size, antialiased."""
        super().__init__()
        self.position_grid = position_grid
        self.scale_offset = scale_offset
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.special_tokens = 1 + registers
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + position_grid**2, width))
        self.patch_embed = PatchEmbed(width, patch_size)
        self.blocks = nn.ModuleList(
            Block(width, heads, eps=EPS, layer_scale=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings (1, 1 + rows * columns, C), the class token's first."""
        side = self.position_grid
        if grid == (side, side):
            return self.pos_embed
        stored = self.pos_embed[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))
        if self.scale_offset:
            scale = [(n + self.scale_offset) / side for n in grid]
            patches = F.interpolate(stored, scale_factor=scale, mode="bicubic")
        else:
            # MPS has no antialiased bicubic.
            on = stored.cpu() if stored.device.type == "mps" else stored
            patches = F.interpolate(on, size=grid, mode="bicubic", antialias=True)
        patches = patches.to(stored.device).flatten(2).transpose(1, 2)
        return torch.cat((self.pos_embed[:, :1].float(), patches), 1)

    def tokens(self, images: Tensor) -> Tensor:
        """Class, register and patch tokens (B, N, C) of normalised images (B, 3, H, W), before the first block."""
        patches = self.patch_embed(images)
        count = len(images)
        x = torch.cat((self.cls_token.expand(count, -1, -1), patches), 1)
        x = x + self.positions(self.patch_embed.grid(images))
        if self.special_tokens == 1:
            return x
        return torch.cat((x[:, :1], self.register_tokens.expand(count, -1, -1), x[:, 1:]), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens (B, rows, columns, C) of normalised images (B, 3, H, W)."""
        last = self.layers(images, (len(self.blocks) - 1,))[0]
        return last[:, self.special_tokens :].unflatten(1, self.patch_embed.grid(images))

    def layers(self, images: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """Tokens (B, N, C) after each of the blocks `wanted` (ascending), through the last norm."""
        x = self.tokens(images)
        found = []
        for i, block in enumerate(self.blocks[: wanted[-1] + 1]):
            x = block(x)
            if i in wanted:
                found.append(self.norm(x))
        return found
