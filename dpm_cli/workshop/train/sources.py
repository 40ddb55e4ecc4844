"""Where training and validation pairs come from: rendered on the fly, or clips rendered to disk."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import torch

from dpm_cli.network.mini.parallax import NOISE_PX
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.training_crop import crop_resize
from dpm_cli.workshop.synthetic import PairCache, sample_pairs
from dpm_cli.workshop.train.batches import (
    Batch,
    PairSource,
    cat_truth,
    measured_flow,
    no_flow,
    told_prior,
    truth_to,
)


@dataclass(frozen=True)
class RenderedPairs:
    """New scenes for every batch, rendered where training runs; no scene is seen twice."""

    device: str = "cpu"
    split: str = "train"
    strides: tuple[int, int] = (1, 8)
    still_fraction: float = 0.25
    compile: bool = False
    """Render with fused kernels."""
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        """Pairs at exactly `size`."""
        # A GPU renders one batch at a time anyway; several workers at once would only add up its memory.
        with nullcontext() if torch.device(self.device).type == "cpu" else self._turn:
            return sample_pairs(
                batch,
                size=size,
                split=self.split,
                generator=generator,
                strides=self.strides,
                still_fraction=self.still_fraction,
                device=self.device,
                compile=self.compile,
            )


class CachedPairs:
    """Pairs of clips on disk, every clip of every folder equally often."""

    def __init__(self, folders: Sequence[Path], strides: tuple[int, int] = (1, 8)):
        """Open caches written by `synthetic.write_cache`; InputError where one is none."""
        self.caches = [PairCache(folder) for folder in folders]
        self.strides = strides
        self._sizes = torch.tensor([float(len(c)) for c in self.caches])

    def __len__(self) -> int:
        """Number of clips."""
        return int(self._sizes.sum())

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        """Pairs at the size of the clips; the caller cuts them to `size`."""
        chosen = torch.multinomial(self._sizes, batch, replacement=True, generator=generator)
        counts = chosen.bincount(minlength=len(self.caches)).tolist()
        parts = [
            cache.sample(count, generator, self.strides)
            for cache, count in zip(self.caches, counts, strict=True)
            if count
        ]
        return cat_truth(parts)


class MixedPairs:
    """Pairs of several sources, each with its share of every batch (rounded by chance)."""

    def __init__(self, parts: Sequence[tuple[PairSource, float]]):
        """`parts` are sources and weights."""
        self.sources = [source for source, _ in parts]
        self._weights = torch.tensor([weight for _, weight in parts])

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        """Pairs at exactly `size`."""
        chosen = torch.multinomial(self._weights, batch, replacement=True, generator=generator)
        counts = chosen.bincount(minlength=len(self.sources)).tolist()
        drawn = [
            crop_resize(source.draw(count, size, generator), size)
            for source, count in zip(self.sources, counts, strict=True)
            if count
        ]
        device = drawn[0].images.device
        return cat_truth([truth_to(part, device) for part in drawn])


def fixed_batches(
    source: PairSource,
    count: int,
    batch: int,
    size: tuple[int, int],
    device: torch.device | str | None = None,
    needs_flow: bool = True,
    prior: bool = False,
) -> list[Batch]:
    """Validation batches that are the same in every run; the focal length is told in none, a prior where asked for."""
    batches = []
    for number in range(count):
        generator = torch.Generator().manual_seed(1000 + number)
        truth = source.draw(batch, size, generator)
        truth = truth_to(truth, device)
        focal = torch.zeros(len(truth.images), device=truth.images.device)
        flow = measured_flow(truth.images) if needs_flow else no_flow(truth)
        told = told_prior(truth, generator) if prior else None
        batches.append(Batch(truth, flow, focal, torch.full_like(focal, NOISE_PX), told))
    return batches
