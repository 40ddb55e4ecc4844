"""Seeds of scenes, split for good, and the counter-based random numbers that scenes are made of.

Every number of a scene is a hash of (seed, name of the quantity, index), so a scene is the same alone or in a
batch, on CPU or GPU, and a new quantity changes no other. The hash is splitmix64 (Steele et al., OOPSLA 2014).
"""

import zlib

import torch
from torch import Tensor

from dpm_cli.errors import UsageError

SPLITS = ("train", "val", "test")
SCENES_PER_SPLIT = 1 << 40
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64 bit integer


def scene_seed(split: str, index: int) -> int:
    """Seed of scene `index` of a split; the ranges of the splits never meet."""
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 0 <= index < SCENES_PER_SPLIT:
        raise UsageError(f"scene index {index} is outside 0 to {SCENES_PER_SPLIT - 1}")
    return SPLITS.index(split) * SCENES_PER_SPLIT + index


def seed_split(seeds: Tensor) -> Tensor:
    """Number of the split (B,) that each seed (B,) belongs to; textures are drawn from that split's pool."""
    return torch.div(seeds, SCENES_PER_SPLIT, rounding_mode="floor").clamp(0, len(SPLITS) - 1)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """splitmix64 finaliser of int64, element by element; wraps around."""
    x = (x ^ _shift(x, 30)) * -4658895280553007687
    x = (x ^ _shift(x, 27)) * -7723592293110705685
    return x ^ _shift(x, 31)


class Draw:
    """Named random numbers of B scenes, each result (B, *shape) float32 on the seeds' device."""

    def __init__(self, seeds: Tensor):
        self.seeds = seeds

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        stream = mix(self.seeds * _GOLDEN + zlib.crc32(name.encode()))
        count = 1
        for n in shape:
            count *= n
        counters = torch.arange(1, count + 1, device=self.seeds.device) * _GOLDEN
        bits = _shift(mix(stream[:, None] + counters), 40)
        return (low + (high - low) * (bits.float() / (1 << 24))).reshape(len(self.seeds), *shape)

    def log_uniform(self, name: str, *shape: int, low: float, high: float) -> Tensor:
        """Log-uniform between two positive numbers."""
        return low * (high / low) ** self.uniform(name, *shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal (Box-Muller)."""
        u = self.uniform(name + "/radius", *shape)
        v = self.uniform(name + "/angle", *shape, high=2 * torch.pi)
        return (-2 * (1 - u).log()).sqrt() * v.cos()

    def chance(self, name: str, *shape: int, p: float) -> Tensor:
        """True with probability p."""
        return self.uniform(name, *shape) < p

    def choice(self, name: str, weights: tuple[float, ...], *shape: int) -> Tensor:
        """Index int64 drawn with the given weights."""
        edges = torch.tensor(weights, device=self.seeds.device).cumsum(0)
        index = torch.bucketize(self.uniform(name, *shape) * edges[-1], edges, right=True)
        return index.clamp_max(len(weights) - 1)

    def direction(self, name: str, *shape: int) -> Tensor:
        """Unit vectors (B, *shape, 3), uniform on the sphere."""
        return torch.nn.functional.normalize(self.normal(name, *shape, 3), dim=-1)
