"""Sizes of the mini network; the weights file carries its own, so a loader never guesses."""

import json
from dataclasses import asdict, dataclass, fields

MULTIPLE = 16
"""Height and width of the network's images are multiples of this."""


@dataclass(frozen=True)
class MiniConfig:
    """Widths and depths; channels are per resolution 1/2, 1/4, 1/8 and 1/16."""

    half: int = 48
    quarter: int = 64
    eighth: int = 128
    token: int = 256
    blocks_quarter: int = 1
    blocks_eighth: int = 2
    """Residual blocks at 1/4 and 1/8, in the encoder and again in the decoder."""
    layers: int = 12
    """Attention layers over the tokens of both views."""
    heads: int = 4
    told: bool = False
    """Whether there is a second decoder, which is told a depth prior."""

    def to_json(self) -> str:
        """One line for the weights' metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "MiniConfig":
        """Read what `to_json` wrote; an unknown key is an error, never ignored."""
        values = json.loads(text)
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown settings of the mini network: {sorted(unknown)}")
        return cls(**values)


PRESETS = {
    "tiny": MiniConfig(16, 16, 32, 32, 1, 1, 1, 2),
    "mini": MiniConfig(),
    "mini-gpu": MiniConfig(64, 96, 192, 320, 2, 2, 8, 5),
}
"""tiny for tests, mini for two CPU cores (what the wheel holds), mini-gpu for `dpm train` on a GPU."""
