"""Linear head of DUSt3R: one layer writes all pixels of a patch."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class LinearHead(nn.Module):
    """The last tokens to `out_channels` maps by one linear layer and a pixel shuffle."""

    def __init__(self, width: int, patch: int, out_channels: int = 4):
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(width, out_channels * patch * patch)

    def forward(self, tokens: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Raw channels (B, out_channels, H, W) of the last of `tokens` (B, rows * columns, C)."""
        x = self.proj(tokens[-1]).transpose(1, 2).unflatten(2, grid)
        return F.pixel_shuffle(x, self.patch)
