"""Alternating attention over the frames of a window (VGGT section 3), with V-DPM's time token.

A frame's tokens are [camera, time, registers, patches]. Frame blocks look inside a frame, global blocks across
all frames; neither knows the order of the frames, only which one is the first (the world).
Of the depth of the network only the layers that a head sees are kept.
"""

import torch
from torch import Tensor, nn

from dpm_cli.network.dinov2 import ImageVit
from dpm_cli.network.rope import RopeTable, grid_table
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vit import Block

EPS = 1e-5
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Images to image tokens (`encode`, once a frame), image tokens to the hooked layers (`forward`)."""

    def __init__(self, config: MultiViewConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = ImageVit(
            width=width,
            depth=config.vit_depth,
            heads=config.vit_heads,
            patch_size=config.patch_size,
            position_grid=config.position_grid,
            registers=config.registers,
        )
        # Slot 0 is the first frame's, slot 1 that of all others.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.registers, width))
        if config.decoder_depth:
            self.time_conditioning_token = nn.Parameter(torch.zeros(1, 1, width))
        self.frame_blocks = self._blocks()
        self.global_blocks = self._blocks()

    def _blocks(self) -> nn.ModuleList:
        config = self.config
        return nn.ModuleList(
            Block(config.width, config.heads, eps=EPS, layer_scale=True, qk_norm=True)
            for _ in range(config.depth)
        )

    def encode(self, images: Tensor) -> Tensor:
        """Image tokens (B, rows, columns, C) of images (B, 3, H, W) in [0, 1]."""
        mean = torch.tensor(IMAGE_MEAN, device=images.device).view(3, 1, 1)
        std = torch.tensor(IMAGE_STD, device=images.device).view(3, 1, 1)
        return self.patch_embed((images - mean) / std)

    def with_special_tokens(self, patches: Tensor) -> Tensor:
        """Tokens (B, S, P, C) of image tokens (B, S, rows, columns, C)."""
        batch, frames = patches.shape[:2]

        def per_frame(slots: Tensor) -> Tensor:
            others = slots[:, 1:].expand(-1, frames - 1, -1, -1)
            return torch.cat((slots[:, :1], others), 1).expand(batch, -1, -1, -1)

        special = [per_frame(self.camera_token)]
        if self.config.decoder_depth:
            special.append(self.time_conditioning_token[None].expand(batch, frames, -1, -1))
        special.append(per_frame(self.register_token))
        return torch.cat((*special, patches.flatten(2, 3)), 2)

    def forward(self, patches: Tensor) -> list[Tensor]:
        """Hooked layers, each (B, S, P, 2C) = frame output beside global output.

        Args:
            patches: image tokens (B, S, rows, columns, C), the window's first frame first.
        """
        grid = (patches.shape[2], patches.shape[3])
        x = self.with_special_tokens(patches)
        batch, frames = x.shape[:2]
        one, window = self.ropes(grid, frames, x.device)
        hooked = []
        for layer in range(self.config.hooks[-1] + 1):
            x = self.frame_blocks[layer](x.flatten(0, 1), one).unflatten(0, (batch, frames))
            across = self.global_blocks[layer](x.flatten(1, 2), window).unflatten(1, (frames, -1))
            if layer in self.config.hooks:
                hooked.append(torch.cat((x, across), -1))
            x = across
        return hooked

    def ropes(
        self, grid: tuple[int, int], frames: int, device: torch.device
    ) -> tuple[RopeTable, RopeTable]:
        """Position tables of one frame and of the window; patches count from 1, special tokens are at 0."""
        head_dim, special = self.config.width // self.config.heads, self.config.special_tokens
        one = grid_table(grid, head_dim, device, first=1, special=special)
        window = grid_table(grid, head_dim, device, first=1, special=special, repeat=frames)
        return one, window
