"""Sizes of MoGe-2; a public checkpoint implies all but the tapped layers by its shapes, and carries those."""

from dataclasses import asdict, dataclass
from typing import Any

LEVELS = 5
"""Maps of a pyramid: the token grid, and 2, 4, 8 and 16 times it."""


@dataclass(frozen=True)
class MogeConfig:
    """Everything that fixes the tensors of a `MogeNetwork`; the defaults are the released small size."""

    patch_size: int = 14
    width: int = 384
    depth: int = 12
    heads: int = 6
    position_grid: int = 37
    """Side of the stored grid of position embeddings."""
    taps: tuple[int, ...] = (5, 11)
    """Blocks of the encoder, from 0, whose tokens are used."""
    encoder_channels: int = 384
    levels: tuple[int, ...] = (384, 256, 128, 64, 32)
    """Channels of the five maps, in the neck and in every head."""
    neck_blocks: tuple[int, ...] = (0, 1, 1, 1, 0)
    """Residual blocks a level."""
    head_blocks: tuple[int, ...] = (0, 1, 1, 1, 0)
    scale_hidden: tuple[int, ...] = (384, 384)
    """Hidden units of the scale head."""
    normals: bool = True
    """The file holds a head of surface normals."""

    def __post_init__(self):
        if not self.taps or sorted(self.taps) != list(self.taps) or self.taps[-1] >= self.depth:
            raise ValueError(f"an encoder of {self.depth} blocks has no layers {self.taps}")
        if any(len(v) != LEVELS for v in (self.levels, self.neck_blocks, self.head_blocks)):
            raise ValueError(f"a pyramid of other than {LEVELS} levels")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
