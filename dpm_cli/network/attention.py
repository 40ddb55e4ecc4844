"""Attention and MLP of the transformer blocks; module names are those of the public checkpoints.

Scaled dot-product attention is PyTorch's fused one, so no (tokens x tokens) matrix is ever stored.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.rope import RopeTable, rotate


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, D) to (B, N, heads * D)."""
    return x.transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., out)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """Multi-head self-attention with optional normalised queries and keys and rotary positions."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        head_dim = width // heads
        self.q_norm = nn.LayerNorm(head_dim, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim, eps=1e-5) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: RopeTable | None = None) -> Tensor:
        """Tokens (B, N, C) at the positions of `rope`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self._attend(q, k, v, rope, rope)

    def attend_rows(self, x: Tensor, rows: slice, rope: RopeTable) -> Tensor:
        """Answers of the tokens `x[:, rows]` only; all of `x` is still attended to."""
        width = self.proj.in_features
        weight, bias = self.qkv.weight, self.qkv.bias
        q = split_heads(F.linear(x[:, rows], weight[:width], bias[:width]), self.heads)
        kv = F.linear(x, weight[width:], bias[width:])
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self._attend(q, k, v, RopeTable(rope.cos[rows], rope.sin[rows]), rope)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, rope_q: RopeTable | None, rope_k: RopeTable | None
    ) -> Tensor:
        q, k = self.q_norm(q), self.k_norm(k)
        if rope_q is not None and rope_k is not None:
            q, k = rotate(q, rope_q), rotate(k, rope_k)
        # Under autocast the norms answer in float32 while v is half: attention wants one type.
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.proj(merge_heads(out))


class CrossAttention(nn.Module):
    """Queries of one view ask the tokens of the other; both carry their own grid positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, rope: RopeTable) -> Tensor:
        """`x` (B, N, C) asks `memory` (B, N, C); one grid, so one table serves both."""
        q = rotate(split_heads(self.projq(x), self.heads), rope)
        k = rotate(split_heads(self.projk(memory), self.heads), rope)
        v = split_heads(self.projv(memory), self.heads)
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))


def full_precision(x: Tensor) -> AbstractContextManager:
    """Context in which heads compute in float32 even if the blocks run in half precision."""
    if x.is_meta:  # shapes only: this device has no autocast
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
