"""The paper's training sets as one source of pairs, mixed by weights.

| data set | supervision |
|---|---|
| movi (Kubric), waymo with boxes | four maps |
| pointodyssey | same-time maps, and the other time where a track runs |
| spring, waymo as DUSt3R writes it | same-time maps |
| scannetpp, blendedmvs, megadepth | static: one target for both times |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch

from dpm_cli.errors import InputError, UsageError
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.four_maps import has_four_maps, pair_truth
from dpm_cli.workshop.datasets.movi import read_movi
from dpm_cli.workshop.datasets.pointodyssey import read_pointodyssey
from dpm_cli.workshop.datasets.spring import read_spring
from dpm_cli.workshop.datasets.training_crop import crop_resize
from dpm_cli.workshop.datasets.training_overlap import shared_view
from dpm_cli.workshop.datasets.training_static import (
    read_blendedmvs,
    read_megadepth,
    read_scannetpp,
)
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.datasets.waymo import read_waymo

TRAINING_SETS: dict[str, tuple[Callable[[Path], list[SequenceTruth]], float]] = {
    "movi": (read_movi, 10.0),
    "pointodyssey": (read_pointodyssey, 15.0),
    "waymo": (read_waymo, 2.5),
    "spring": (read_spring, 1.0),
    "scannetpp": (read_scannetpp, 2.5),
    "blendedmvs": (read_blendedmvs, 2.5),
    "megadepth": (read_megadepth, 2.5),
}
"""Reader and weight: V-DPM's thousands of samples an epoch, MonST3R's for Spring, MegaDepth as BlendedMVS."""
_TRIES = 20
_MIN_SHARED = 0.2
"""Share of image 1's known pixels that must be seen in image 2, else another pair is drawn."""


class RealPairs:
    """Pairs of public data sets; a pair is read from disk when drawn."""

    def __init__(
        self,
        sequences: Sequence[SequenceTruth],
        strides: tuple[int, int] = (1, 8),
        weights: Mapping[str, float] | None = None,
    ):
        """Mix `sequences`; `weights` by data set, default those of `TRAINING_SETS`.

        Raises:
            InputError: none of them has two frames with depth and cameras.
        """
        self.sequences = [s for s in sequences if has_four_maps(s) and _has_pairs(s, strides[0])]
        if not self.sequences:
            raise InputError("no sequence with depth, cameras and two frames: nothing to train on")
        self.strides = strides
        chosen = dict(weights) if weights else {n: w for n, (_, w) in TRAINING_SETS.items()}
        frames: dict[str, int] = {}
        for s in self.sequences:
            frames[s.dataset] = frames.get(s.dataset, 0) + len(s)
        # A data set counts by its weight, a sequence inside it by its length.
        self._chance = torch.tensor(
            [chosen.get(s.dataset, 1.0) * len(s) / frames[s.dataset] for s in self.sequences]
        )

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        """`batch` pairs at `size`: the largest central window of that aspect, resized."""
        pairs = [self._pair(size, generator) for _ in range(batch)]
        return PairTruth(
            **{f.name: torch.cat([getattr(p, f.name) for p in pairs]) for f in fields(PairTruth)}
        )

    def _frames(self, sequence: SequenceTruth, generator: torch.Generator) -> tuple[int, int]:
        """Two frames of a video some strides apart, or two of a photo collection that are known to share view."""
        if sequence.partners is not None:
            row = int(torch.randint(len(sequence.partners), (1,), generator=generator))
            return int(sequence.partners[row, 0]), int(sequence.partners[row, 1])
        low, high = self.strides[0], min(self.strides[1], len(sequence) - 1)
        stride = int(torch.randint(low, high + 1, (1,), generator=generator))
        start = int(torch.randint(len(sequence) - stride, (1,), generator=generator))
        return start, start + stride

    def _pair(self, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        for _ in range(_TRIES):
            chosen = self.sequences[int(torch.multinomial(self._chance, 1, generator=generator))]
            order = self._frames(chosen, generator)
            if torch.rand(1, generator=generator) < 0.5:
                order = order[::-1]
            truth = pair_truth(chosen, *order)
            if float(shared_view(truth)) >= _MIN_SHARED:
                return crop_resize(truth, size)
        raise InputError(
            f"{_TRIES} pairs in a row share too little view: use a smaller --max-stride"
        )


def _has_pairs(sequence: SequenceTruth, stride: int) -> bool:
    if sequence.partners is None:
        return len(sequence) > stride
    return len(sequence.partners) > 0


def open_training_set(name: str, path: Path) -> list[SequenceTruth]:
    """Sequences of one of the paper's training sets.

    Raises:
        UsageError: no reader of that name.
        InputError: the folder does not hold it.
    """
    if name not in TRAINING_SETS:
        raise UsageError(f"unknown training set '{name}': choose one of {', '.join(TRAINING_SETS)}")
    return TRAINING_SETS[name][0](Path(path))
