"""V-DPM's decoder: the tokens of all frames, moved to one target time (V-DPM section 3.2).

Attention is conditioned on the target frame's time token by adaptive layer norm; the four hooked layers share
the weights. Nothing here depends on which frames are wanted, except the last global block, which answers for
the rows of the wanted frames only.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.attention import Mlp, SelfAttention
from dpm_cli.network.rope import RopeTable, grid_table
from dpm_cli.network.vggt.aggregator import EPS
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vit import LayerScale


class Modulation(nn.Module):
    """Shift, scale and gate from a condition."""

    def __init__(self, width: int):
        super().__init__()
        self.lin = nn.Linear(width, 3 * width)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., C) to three of (..., C)."""
        shift, scale, gate = self.lin(F.silu(condition)).chunk(3, -1)
        return shift, scale, gate


class TimeBlock(nn.Module):
    """x += gate * attention((1 + scale) * norm(x) + shift); x += ls2(mlp(norm2(x)))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.modulation = Modulation(width)
        self.attn = SelfAttention(width, heads, qk_norm=True)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)
        self.ls2 = LayerScale(width)

    def forward(
        self, x: Tensor, condition: Tensor, rope: RopeTable, rows: slice | None = None
    ) -> Tensor:
        """Tokens (B, N, C) under `condition` (B, 1 or N, C); only those of `rows` where given."""
        shift, scale, gate = self.modulation(condition)
        inner = (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=EPS) + shift
        if rows is None:
            x = x + gate * self.attn(inner, rope)
        else:
            x = x[:, rows] + gate * self.attn.attend_rows(inner, rows, rope)
        return x + self.ls2(self.mlp(self.norm2(x)))


class TimeDecoder(nn.Module):
    """Alternating frame and global blocks under one target time."""

    def __init__(self, config: MultiViewConfig):
        super().__init__()
        self.config = config
        self.frame_blocks = self._blocks()
        self.global_blocks = self._blocks()

    def _blocks(self) -> nn.ModuleList:
        width, heads = 2 * self.config.width, self.config.decoder_heads
        blocks = (TimeBlock(width, heads) for _ in range(self.config.decoder_depth))
        # The outer level, of one entry, is in the names of the public file.
        return nn.ModuleList([nn.ModuleList(blocks)])

    def forward(
        self, x: Tensor, time: Tensor, grid: tuple[int, int], sources: slice | None = None
    ) -> Tensor:
        """Tokens (B, S, P, C) at the time of the token `time` (B, C); of the frames `sources` only."""
        batch, frames, tokens, width = x.shape
        head_dim = width // self.config.decoder_heads
        special = self.config.special_tokens
        one = grid_table(grid, head_dim, x.device, first=1, special=special)
        window = grid_table(grid, head_dim, x.device, first=1, special=special, repeat=frames)
        condition = time[:, None]
        per_frame = condition.repeat_interleave(frames, 0)
        wanted = None if sources is None else slice(sources.start * tokens, sources.stop * tokens)
        for layer in range(self.config.decoder_depth):
            frame_block = self.frame_blocks.get_submodule(f"0.{layer}")
            global_block = self.global_blocks.get_submodule(f"0.{layer}")
            x = frame_block(x.flatten(0, 1), per_frame, one).unflatten(0, (batch, frames))
            rows = wanted if layer == self.config.decoder_depth - 1 else None
            x = global_block(x.flatten(1, 2), condition, window, rows).unflatten(1, (-1, tokens))
        return x
