"""Image tokens: a DINOv2 ViT with registers (Oquab et al. 2023; Darcet et al. 2023), as VGGT uses it.

No RoPE here: positions are a learnt 37x37 grid, resampled with antialiasing to the patches of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vit import Block, PatchEmbed

EPS = 1e-6
"""Of the LayerNorms of this part only; the aggregator has 1e-5."""


class ImageVit(nn.Module):
    """Images to normalised patch tokens, each image by itself."""

    def __init__(self, config: MultiViewConfig):
        super().__init__()
        width = config.width
        self.position_grid = config.position_grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, width))
        self.patch_embed = PatchEmbed(width, config.patch_size)
        self.blocks = nn.ModuleList(
            Block(width, config.vit_heads, eps=EPS, layer_scale=True)
            for _ in range(config.vit_depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings (1, 1 + rows * columns, C), the class token's first."""
        side = self.position_grid
        if grid == (side, side):
            return self.pos_embed
        stored = self.pos_embed[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))
        # MPS has no antialiased bicubic.
        on = stored.cpu() if stored.device.type == "mps" else stored
        patches = F.interpolate(on, size=grid, mode="bicubic", antialias=True).to(stored.device)
        return torch.cat((self.pos_embed[:, :1].float(), patches.flatten(2).transpose(1, 2)), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens (B, rows, columns, C) of normalised images (B, 3, H, W)."""
        grid = self.patch_embed.grid(images)
        patches = self.patch_embed(images)
        count = len(images)
        x = torch.cat((self.cls_token.expand(count, -1, -1), patches), 1) + self.positions(grid)
        registers = self.register_tokens.expand(count, -1, -1)
        x = torch.cat((x[:, :1], registers, x[:, 1:]), 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1 + registers.shape[1] :].unflatten(1, grid)
