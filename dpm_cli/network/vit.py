"""The pre-norm transformer block and patch embedding that all networks here share."""

import torch
from torch import Tensor, nn

from dpm_cli.errors import InputError
from dpm_cli.network.attention import Mlp, SelfAttention
from dpm_cli.network.rope import RopeTable


class LayerScale(nn.Module):
    """A learnt gain per channel on a residual branch."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width)."""
        return x * self.gamma


class Block(nn.Module):
    """x += ls1(attention(norm1(x))); x += ls2(mlp(norm2(x))). CroCo has no layer scale, VGGT has."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        eps: float,
        layer_scale: bool = False,
        qk_norm: bool = False,
        mlp_ratio: float = 4,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads, qk_norm)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, x: Tensor, rope: RopeTable | None = None) -> Tensor:
        """Tokens (B, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A convolution as large as its stride: one token per patch."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, width, patch, patch)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """(rows, columns) of patches; raises InputError where they do not fit."""
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise InputError(f"images of {width}x{height}: both must be multiples of {self.patch}")
        return height // self.patch, width // self.patch

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, rows * columns, width), row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)
