"""Rotary position code on a 2D grid (RoPE), as tables made once per image size.

The first half of a head's channels turns with the patch row, the second half with the column. Inside each half
of d channels, channel i and i + d/2 form a plane that turns by position * base^(-2i/d) (CroCo v2, DUSt3R, VGGT).
Tables are float32 whatever the tokens are: bfloat16 angles are wrong by whole patches.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class RopeTable(NamedTuple):
    """Cosine and sine of every token and channel; the sine carries the sign of the rotated half."""

    cos: Tensor
    """(N, head_dim) float32."""
    sin: Tensor
    """(N, head_dim) float32."""


def rope_table(positions: Tensor, head_dim: int, base: float = 100.0) -> RopeTable:
    """Table for tokens at integer `positions` (N, 2) = (row, column)."""
    half = head_dim // 2
    exponent = torch.arange(0, half, 2, dtype=torch.float64, device=positions.device) / half
    angles = positions.double()[..., None] * base**-exponent
    cos, sin = angles.cos(), angles.sin()
    return RopeTable(
        torch.cat((cos, cos), -1).flatten(-2).float(),
        torch.cat((-sin, sin), -1).flatten(-2).float(),
    )


@lru_cache(maxsize=32)
def grid_table(
    grid: tuple[int, int],
    head_dim: int,
    device: torch.device,
    *,
    first: int = 0,
    special: int = 0,
    repeat: int = 1,
    base: float = 100.0,
) -> RopeTable:
    """Table of `repeat` images whose tokens are `special` ones at (0, 0), then a grid counted from `first`.

    Cached: making it per call would cost a transfer to the device in every layer.
    """
    rows, columns = grid
    with torch.inference_mode(False), torch.no_grad():
        cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + first
        positions = torch.cat((torch.zeros(special, 2, dtype=cells.dtype), cells)).repeat(repeat, 1)
        # MPS has no float64, so the angles are made on the CPU.
        table = rope_table(positions, head_dim, base)
        return RopeTable(table.cos.to(device), table.sin.to(device))


def rotate(x: Tensor, table: RopeTable) -> Tensor:
    """Turn queries or keys (..., N, head_dim) by their positions; computed in float32."""
    quarters = x.unflatten(-1, (2, 2, -1))
    swapped = torch.stack((quarters[..., 1, :], quarters[..., 0, :]), -2).flatten(-3)
    return (x * table.cos + swapped * table.sin).to(x.dtype)
