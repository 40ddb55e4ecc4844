"""Training batches: pairs drawn from a source, augmented, their DIS flow measured where asked for, all ahead of use.

A batch depends only on (seed, step, shard, size, batch), never on what was drawn before: a resumed run draws the
same pairs without stored generator states, and processes that split the shards draw together what one would.
"""

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import transform_map
from dpm_cli.matching.dis import dis_flow
from dpm_cli.network.mini.parallax import NOISE_PX
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.synthetic.prior_errors import imitate_prior
from dpm_cli.workshop.train.augment import augment
from dpm_cli.workshop.train.settings import TrainSettings


class PairSource(Protocol):
    """Where pairs come from: a renderer, a folder of rendered clips, data sets."""

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> PairTruth:
        """A batch of pairs of at least about `size` pixels; all randomness comes from `generator` (CPU)."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on."""

    truth: PairTruth
    flow: Tensor
    """(B, 2, H, W, 2) pixels, measured; NaN for networks that are given none."""
    focal_px: Tensor
    """(B,) true focal length where the network is told, else 0."""
    noise_px: Tensor
    """(B,) deviation of the flow, pixels."""
    prior: Tensor | None = None
    """(B, 2, H, W) inverse depth with a depth network's errors, 0 = not told; None for networks that are told none."""


def told_prior(truth: PairTruth, generator: torch.Generator) -> Tensor:
    """The true depth of both views in their own cameras with a depth network's errors (B, 2, H, W)."""
    second = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])
    depth = torch.stack((truth.points[:, 0, 0, ..., 2], second[..., 2]), 1)
    known = torch.stack((truth.valid[:, 0, 0], truth.valid[:, 1, 1]), 1)
    return imitate_prior(torch.where(known, depth, 0.0), generator)


def measured_flow(images: Tensor) -> Tensor:
    """DIS flow (B, 2, H, W, 2) of images (B, 2, 3, H, W), in the calling thread."""
    arrays = (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
    flows = [torch.from_numpy(dis_flow(p[v], p[1 - v])) for p in arrays for v in (0, 1)]
    return torch.stack(flows).unflatten(0, (-1, 2)).to(images.device)


def no_flow(truth: PairTruth) -> Tensor:
    """Stands for flow (B, 2, H, W, 2) that nobody measured."""
    return truth.flow.new_full((), torch.nan).expand_as(truth.flow)


def truth_to(truth: PairTruth, device: torch.device | str | None) -> PairTruth:
    """The same pairs on another device; None = where they are."""
    return PairTruth(**{f.name: getattr(truth, f.name).to(device) for f in fields(PairTruth)})


def cat_truth(parts: list[PairTruth]) -> PairTruth:
    """One batch of several."""
    return PairTruth(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(PairTruth)}
    )


def draw_batch(
    source: PairSource,
    settings: TrainSettings,
    step: int,
    progress: float,
    rank: int = 0,
    world: int = 1,
    *,
    device: torch.device | str | None = None,
    needs_flow: bool = True,
) -> Batch:
    """The part of step `step` that process `rank` of `world` trains on, on `device` (None: where it was drawn)."""
    stage = settings.stage(progress)
    size = stage.sizes[_generator(settings.seed, step, -1).initial_seed() % len(stage.sizes)]
    shards = [s for s in range(settings.shards) if s % world == rank]
    parts, told, kept, priors = [], [], [], []
    for shard in shards:
        generator = _generator(settings.seed, step, shard)
        truth = source.draw(stage.batch // settings.shards, size, generator)
        truth = augment(truth_to(truth, device), size, generator)
        K = truth.intrinsics[:, 0]
        knows = torch.rand(len(K), generator=generator).to(K.device) < settings.known_focal
        parts.append(truth)
        told.append((K[:, 0, 0] * K[:, 1, 1]).sqrt() * knows)
        share = torch.rand(len(K), generator=generator).to(K.device)
        kept.append(settings.best_flow + (1 - settings.best_flow) * share)
        if settings.prior:
            priors.append(told_prior(truth, generator))
    truth, focal, share = cat_truth(parts), torch.cat(told), torch.cat(kept)
    if not needs_flow:
        return Batch(truth, no_flow(truth), focal, NOISE_PX * share)
    flow = better_flow(measured_flow(truth.images), truth, share)
    prior = torch.cat(priors) if priors else None
    return Batch(truth, flow, focal, NOISE_PX * share, prior)


def better_flow(flow: Tensor, truth: PairTruth, kept: Tensor) -> Tensor:
    """Flow (B, 2, H, W, 2) with the share `kept` (B,) of its error, where the point is seen in the other image."""
    mixed = truth.flow + (flow - truth.flow) * kept[:, None, None, None, None]
    return torch.where(truth.visible[..., None], mixed, flow)


def prefetch(
    source: PairSource,
    settings: TrainSettings,
    first_step: int,
    elapsed_s: Callable[[], float],
    *,
    ahead: int = 4,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str | None = None,
    needs_flow: bool = True,
) -> Generator[tuple[int, float, Batch], None, None]:
    """Steps from `first_step` on as (step, progress, batch), made `ahead` of use by `workers` threads.

    `elapsed_s()` is the time spent so far; it places a step in the schedule when the step is queued.
    """
    draw = partial(
        draw_batch,
        source,
        settings,
        rank=rank,
        world=world,
        device=device,
        needs_flow=needs_flow,
    )
    # One torch thread a worker: the rest of the cores belong to the network.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        queue: list[tuple[int, float, Future[Batch]]] = []
        step = first_step
        try:
            while True:
                while len(queue) < ahead:
                    progress = settings.progress(step, elapsed_s())
                    job = pool.submit(draw, step=step, progress=progress)
                    queue.append((step, progress, job))
                    step += 1
                ready = queue.pop(0)
                yield ready[0], ready[1], ready[2].result()
        finally:
            for _, _, job in queue:
                job.cancel()


def _generator(seed: int, step: int, shard: int) -> torch.Generator:
    """A CPU generator whose stream belongs to this step and shard alone (mixed as in splitmix64)."""
    mixed = (
        seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + (shard + 2) * 0x94D049BB133111EB
    ) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    return torch.Generator().manual_seed((mixed ^ (mixed >> 31)) % 2**63)
