"""Building blocks of the mini network: residual convolutions, resampling, attention over both views' tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Norm, two 3x3 convolutions; the second starts small so that depth costs no stability."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.1 / (3 * channels**0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.second(F.gelu(self.first(self.norm(x))))


class Up(nn.Module):
    """Twice the size by pixel shuffle, with the encoder's features of that size added."""

    def __init__(self, channels: int, out: int, skip: int):
        super().__init__()
        self.rise = nn.Conv2d(channels, 4 * out, 1)
        self.skip = nn.Conv2d(skip, out, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, C, H, W) and (N, S, 2H, 2W) to (N, out, 2H, 2W)."""
        return F.pixel_shuffle(self.rise(x), 2) + self.skip(skip)


class AttentionLayer(nn.Module):
    """Pre-norm self-attention and MLP over a set of tokens."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.rise = nn.Linear(dim, 4 * dim)
        self.fall = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = _attend(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.fall(F.gelu(self.rise(self.norm_2(x))))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (B, heads, N, d). On a CPU the fused kernel's gradient takes ten times as long at a hundred tokens."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


class GridCode(nn.Module):
    """Position code of a normalised grid: sines of six octaves, projected; the same at any size."""

    def __init__(self, dim: int, octaves: int = 6):
        super().__init__()
        self.octaves = octaves
        self.project = nn.Linear(4 * octaves, dim)

    def forward(self, grid: Tensor) -> Tensor:
        """(H, W, 2) to (H, W, dim)."""
        frequencies = torch.pi / 2 * 2.0 ** torch.arange(self.octaves, device=grid.device)
        angles = (grid[..., None] * frequencies).flatten(-2)
        return self.project(torch.cat((angles.sin(), angles.cos()), -1))


def float32(layer: nn.Module, x: Tensor) -> Tensor:
    """The heads keep full precision inside an autocast region: bf16 has three digits."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` of them, one after the other."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
