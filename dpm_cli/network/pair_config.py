"""Sizes of the pair network; a checkpoint of ours carries them, a public one implies them by its shapes."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

MapName = Literal["p11", "p12", "p21", "p22"]
ALL_MAPS: tuple[MapName, ...] = ("p11", "p12", "p21", "p22")
STATIC_MAPS: tuple[MapName, ...] = ("p11", "p22")


@dataclass(frozen=True)
class PairConfig:
    """Everything that fixes the tensors of a `PairNetwork`."""

    patch_size: int = 16
    enc_width: int = 1024
    enc_depth: int = 24
    enc_heads: int = 16
    dec_width: int = 768
    dec_depth: int = 12
    dec_heads: int = 12
    head: Literal["dpt", "linear"] = "dpt"
    dpt_levels: tuple[int, int, int, int] = (96, 192, 384, 768)
    dpt_features: int = 256
    dpt_last: int = 128
    hooks: tuple[int, int, int, int] = (0, 6, 9, 12)
    """Of the list [encoder output, decoder layer 1, ..., last]: what the DPT head sees."""
    maps: tuple[MapName, ...] = ALL_MAPS
    """pIJ = P_I(t_J). A network of p11 and p22 alone is DUSt3R's; its answer is the same at both times."""

    def __post_init__(self):
        if max(self.hooks) > self.dec_depth:
            raise ValueError(f"hooks {self.hooks} beyond a decoder of {self.dec_depth} layers")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "PairConfig":
        """Inverse of `as_dict`, also after JSON made lists of the tuples."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return PairConfig(**plain)


PAIR_SIZES: dict[str, PairConfig] = {
    "tiny-pair": PairConfig(
        enc_width=64,
        enc_depth=2,
        enc_heads=2,
        dec_width=48,
        dec_depth=4,
        dec_heads=2,
        dpt_levels=(12, 16, 24, 32),
        dpt_features=24,
        dpt_last=16,
        hooks=(0, 2, 3, 4),
    ),
    "base-pair": PairConfig(
        enc_width=384,
        enc_depth=12,
        enc_heads=6,
        dec_width=384,
        dec_depth=8,
        dec_heads=6,
        dpt_levels=(48, 96, 192, 384),
        dpt_features=128,
        dpt_last=64,
        hooks=(0, 4, 6, 8),
    ),
    "large": PairConfig(),
}
"""`tiny-pair` is for tests; `base-pair` (ViT-S/16, 79 M parameters) trains on a card of 8 GB; `large` is the paper's:
ViT-L/16 encoder, two ViT-B decoders, 607 M parameters in use."""
