"""Encoder blocks and the two-stream decoder of CroCo v2, as DUSt3R, MonST3R and DPM use them.

Both streams advance together: layer i of each view asks layer i-1 of the other, so neither sees the future.
"""

from torch import Tensor, nn

from dpm_cli.network.attention import CrossAttention, Mlp, SelfAttention
from dpm_cli.network.rope import RopeTable

EPS = 1e-6
"""Of every LayerNorm in this family."""


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to the other view, MLP; all pre-norm."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.norm_y = nn.LayerNorm(width, eps=EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, memory: Tensor, rope: RopeTable) -> Tensor:
        """`x` (B, N, C) of one view, `memory` (B, N, C) of the other."""
        x = x + self.attn(self.norm1(x), rope)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(memory), rope)
        return x + self.mlp(self.norm3(x))


def decode_streams(
    blocks_1: nn.ModuleList, blocks_2: nn.ModuleList, x1: Tensor, x2: Tensor, rope: RopeTable
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of every layer for both views; each layer reads the previous layer's outputs."""
    layers_1, layers_2 = [], []
    for block_1, block_2 in zip(blocks_1, blocks_2, strict=True):
        x1, x2 = block_1(x1, x2, rope), block_2(x2, x1, rope)
        layers_1.append(x1)
        layers_2.append(x2)
    return layers_1, layers_2
