"""Training pairs rendered on the fly: new scenes, two frames each, at a stride drawn per pair."""

import torch
from torch import Tensor

from dpm_cli.structures import PairTruth
from dpm_cli.workshop.synthetic.camera_paths import KIND_WEIGHTS
from dpm_cli.workshop.synthetic.fuse import fusing
from dpm_cli.workshop.synthetic.render import render_at
from dpm_cli.workshop.synthetic.seeds import SCENES_PER_SPLIT, scene_seed

_LAST_START = 24
"""Pairs start within the first frames of a scene, where things were placed in view."""


def sample_pairs(
    batch: int,
    *,
    size: tuple[int, int],
    split: str = "train",
    generator: torch.Generator | None = None,
    seeds: Tensor | None = None,
    strides: tuple[int, int] = (1, 8),
    still_fraction: float | None = None,
    device: torch.device | str = "cpu",
    compile: bool = False,
) -> PairTruth:
    """Pairs of `batch` scenes with exact truth.

    Args:
        batch: B.
        size: (H, W).
        split: which scenes.
        generator: CPU generator that scenes, strides and directions of time are drawn from.
        seeds: (B,) scene seeds instead of drawn ones.
        strides: least and greatest distance in frames; half of the pairs run backward in time.
        still_fraction: share of still cameras; None leaves the generator's own mix.
        device: where to render.
        compile: with fused kernels, see `fuse.py`; the first batches take a minute to compile.
    """
    low, high = strides
    if seeds is None:
        seeds = torch.randint(SCENES_PER_SPLIT, (batch,), generator=generator) + scene_seed(
            split, 0
        )
    stride = torch.randint(low, high + 1, (batch,), generator=generator)
    start = torch.randint(_LAST_START, (batch,), generator=generator)
    times = torch.stack((start, start + stride), 1)
    backward = torch.rand(batch, generator=generator) < 0.5
    times = torch.where(backward[:, None], times.flip(1), times)
    camera = None
    if still_fraction is not None:
        moving = (
            torch.multinomial(torch.tensor(KIND_WEIGHTS[1:]), batch, True, generator=generator) + 1
        )
        still = torch.rand(batch, generator=generator) < still_fraction
        camera = torch.where(still, 0, moving).to(device)
    with fusing(compile):
        return render_at(seeds.to(device), times.to(device), size, camera).pair(0, 1)
