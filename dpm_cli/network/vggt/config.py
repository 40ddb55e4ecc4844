"""Sizes of the multi-view networks; a public checkpoint implies them by its shapes."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MultiViewConfig:
    """Everything that fixes the tensors of a `MultiViewNetwork`; the defaults are V-DPM's released size."""

    patch_size: int = 14
    width: int = 1024
    vit_depth: int = 24
    vit_heads: int = 16
    position_grid: int = 37
    """Side of the stored grid of position embeddings."""
    registers: int = 4
    depth: int = 24
    """Pairs of frame and global blocks in the aggregator."""
    heads: int = 16
    hooks: tuple[int, int, int, int] = (4, 11, 17, 23)
    """Aggregator layers that the dense heads see; the last one also feeds cameras and time."""
    decoder_depth: int = 4
    """Pairs of time-conditioned blocks; 0 is VGGT, which knows no time."""
    decoder_heads: int = 16
    camera_depth: int = 4
    camera_heads: int = 16
    camera_iterations: int = 4
    dpt_features: int = 256
    dpt_levels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    depth_head: bool = False
    """VGGT's dense depth head; V-DPM dropped it."""

    def __post_init__(self):
        if self.hooks[-1] != self.depth - 1:
            raise ValueError(
                f"an aggregator of {self.depth} layers whose last one no head sees: {self.hooks}"
            )

    @property
    def special_tokens(self) -> int:
        """Tokens before the patches of a frame: camera, time (V-DPM only), registers."""
        return 1 + bool(self.decoder_depth) + self.registers

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "MultiViewConfig":
        """Inverse of `as_dict`, also after JSON made lists of the tuples."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return MultiViewConfig(**plain)
