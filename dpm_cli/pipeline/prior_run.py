"""The depth prior of a run: asked once a frame, aligned with what the passes know, told in the manifest."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.align import ToldDepth, fuse_log_depth
from dpm_cli.config import PriorKind, ReconstructSettings
from dpm_cli.geometry.camera import rays
from dpm_cli.motion.doubt import GridLook, error_by_flow
from dpm_cli.passes.fusion import AlignedPasses, look_of
from dpm_cli.passes.run import grid_spacing
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.align_run import AlignedRun, refine_with_prior
from dpm_cli.prior.affine import Affine, robust_spread
from dpm_cli.prior.choose import MISSING, load_prior
from dpm_cli.prior.estimate import PriorInfo
from dpm_cli.prior.links import Links, link_frames
from dpm_cli.prior.store import PriorStore, estimate_clip
from dpm_cli.prior.witness import (
    PriorGrid,
    RunGrid,
    Witness,
    found_error,
    linked_fits,
    own_fits,
    typical_inverse,
)
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip

_INFORMED_SIGMA = 0.3
"""Relative error of depth up to which parallax is taken to know it."""
_MOVING_SHARE = 0.5
"""Share of the passes of a shot that must see the camera move."""
_STATIC = 0.25
"""Least weight of a flow that neither moves by itself nor is hidden."""
_METRIC_SIGMA = 0.05
"""Deviation of a metric scale that many frames of one scene cannot beat."""


@dataclass(frozen=True, eq=False)
class ClipPrior:
    """A prior's estimates of a clip."""

    store: PriorStore
    info: PriorInfo


@dataclass(frozen=True, eq=False)
class HeardPrior:
    """A run after its prior was heard."""

    aligned: AlignedRun
    witness: Witness
    scale: dict[str, Any] | None
    """Of the manifest, where the prior made the run metric."""
    notes: tuple[str, ...]


def ask_prior(
    clip: Clip,
    name: str,
    kind: PriorKind,
    *,
    device: torch.device,
    dtype: torch.dtype,
    folder: Path,
    reporter: Reporter,
) -> ClipPrior | None:
    """Estimates of every frame in `folder`; None where there is no prior, which is said if one would have been used.

    `name` is the setting, or what an interrupted run had chosen for `auto`; `kind` that of the maps in a folder.
    """
    source = load_prior(name, kind, clip, device, dtype)
    if source is None:
        if name == "auto":
            reporter.note(MISSING)
        return None
    return ClipPrior(estimate_clip(clip, source, folder, reporter), source.info)


def hear_prior(
    clip: Clip,
    alone: AlignedRun,
    store: PassStore,
    prior: ClipPrior,
    settings: ReconstructSettings,
    reporter: Reporter,
) -> HeardPrior:
    """Align the prior with the run, judge it, ask the flows once more beside it, bring the run to metres if it can."""
    chunks = store.read_chunks()
    spacing = grid_spacing(clip.size, len(chunks["pairs"]))
    said, metric = _prior_grid(prior.store, len(clip), spacing)
    aligned = _without_odd_passes(alone, chunks["status"])
    typical = typical_inverse(said, alone.shot)
    grid, fits = _aligned(aligned, chunks, said, typical, clip.size)
    witness = Witness(prior.store, fits, typical, *found_error(grid, said, typical, fits))
    name = prior.info.said
    if witness.trust == 0:
        note = f"{name} contradicts what parallax knows and was not used"
        reporter.note(note)
        return HeardPrior(alone, witness, None, (note,))
    closer = refine_with_prior(alone, clip.size, store, chunks, _told(said, witness), settings)
    if closer is not alone:
        aligned = _without_odd_passes(closer, chunks["status"])
        grid, fits = _aligned(aligned, chunks, said, typical, clip.size)
        witness = replace(witness, affine=fits)
    note = f"depth also from {name}: expected error {100 * witness.sigma_log:.0f} %"
    reporter.note(note)
    if not metric:
        return HeardPrior(aligned, witness, None, (note,))
    aligned, witness, scale = _in_metres(aligned, witness, grid, said, name)
    return HeardPrior(aligned, witness, scale, (note,))


def _aligned(
    run: AlignedRun,
    chunks: dict[str, np.ndarray],
    said: PriorGrid,
    typical: np.ndarray,
    size: tuple[int, int],
) -> tuple[RunGrid, tuple[Affine, ...]]:
    """What the run knows on the grid, and where the prior lies in it."""
    spacing = grid_spacing(size, len(chunks["pairs"]))
    grid = _run_grid(run, chunks, size, spacing)
    fits, sigma = own_fits(grid, said, typical)
    links = _links(run.passes, chunks, grid, said, fits, typical, spacing)
    return grid, linked_fits(fits, sigma, links)


def _told(said: PriorGrid, witness: Witness) -> ToldDepth:
    """The prior on the grid, in the run's scale, with the error that it was found to have."""
    relative = said.inverse_depth / witness.typical[:, None, None]
    log_depth = -np.stack([f.log_inverse(q) for f, q in zip(witness.affine, relative, strict=True)])
    sigma = np.where(said.valid, witness.sigma_log / np.sqrt(witness.trust), np.inf)
    return ToldDepth(np.where(said.valid, log_depth, 0), sigma)


def _without_odd_passes(aligned: AlignedRun, status: np.ndarray) -> AlignedRun:
    """Without the few passes that see a camera move which most see stand still or turn.

    What they call parallax moves by itself, and they are sure of a wrong depth.
    """
    passes = aligned.passes
    usable = passes.usable.copy()
    shot = aligned.shot[passes.pairs[:, 0]]
    for s in np.unique(shot):
        mine = (shot == s) & passes.usable
        if mine.any() and (status[mine] == "ok").mean() < _MOVING_SHARE:
            usable[mine & (status == "ok")] = False
    return replace(aligned, passes=replace(passes, usable=usable))


def _run_grid(
    aligned: AlignedRun, chunks: dict[str, np.ndarray], size: tuple[int, int], spacing: int
) -> RunGrid:
    """Depth of every frame from its passes on their grid, with what bundle adjustment changed.

    What noise of the flow makes of little parallax is beyond the passes' own words, and counts where it is larger.
    """
    passes, half = aligned.passes, spacing // 2
    grid = (slice(half, None, spacing), slice(half, None, spacing))
    moving = (chunks["status"] == "ok") & passes.usable
    depth, sigma, informed = [], [], []
    for t in range(len(passes.cameras)):
        e, v = np.array(passes.of_frame(t), int).reshape(-1, 2).T
        scaled = chunks["log_depth"][e, v] + passes.log_scale[e, v, None, None]
        fused, sure = fuse_log_depth(scaled.astype(np.float32), chunks["confidence"][e, v])
        if passes.correction is not None:
            factor, surer = (m[grid] for m in passes.correction.at_size(t, size))
            fused, sure = fused + factor, sure * np.exp(surer)
        static = (chunks["flow_weight"][e, v] * moving[e, None, None]).max(0) > _STATIC
        looks = [
            _grid_look(n, view, passes, chunks, spacing)
            for n, view in zip(e, v, strict=True)
            if moving[n]
        ]
        said = 1 / np.maximum(sure, 1e-3)
        error = np.maximum(said, error_by_flow(fused, looks, _STATIC))
        known = static & (error < _INFORMED_SIGMA)
        depth.append(fused)
        sigma.append(np.where(known, error, said))
        informed.append(known)
    return RunGrid(
        np.stack(depth).astype(np.float64), np.stack(sigma), np.stack(informed), aligned.shot
    )


def _grid_look(
    e: int, v: int, passes: AlignedPasses, chunks: dict[str, np.ndarray], spacing: int
) -> GridLook:
    """What pass `e` sees of the frame of its view `v`."""
    own, other = passes.pairs[e, v], passes.pairs[e, 1 - v]
    flow = chunks["flow"][e]
    look = look_of(int(own), int(other), flow[v], flow[1 - v], passes.cameras)
    return GridLook.of(look, chunks["flow_weight"][e, v], spacing)


def _prior_grid(store: PriorStore, frames: int, spacing: int) -> tuple[PriorGrid, bool]:
    """The prior on the grid of the passes, and whether it is metric."""
    half = spacing // 2
    grid = (slice(half, None, spacing), slice(half, None, spacing))
    inverse, valid, last = [], [], None
    for t in range(frames):
        last = store.read(t)
        inverse.append(last.inverse_depth[grid].astype(np.float64))
        valid.append(last.valid[grid])
    assert last is not None
    said = PriorGrid(np.stack(inverse), np.stack(valid), last.sigma_log, last.shift_sigma)
    return said, last.metric


def _links(
    passes: AlignedPasses,
    chunks: dict[str, np.ndarray],
    run: RunGrid,
    prior: PriorGrid,
    fits: list[Affine],
    typical: np.ndarray,
    spacing: int,
) -> Links:
    """What frames that share a usable pass say of each other's scale."""
    used = passes.usable & (chunks["pairs"][:, 0] != chunks["pairs"][:, 1])
    pairs = chunks["pairs"][used]
    relative = prior.inverse_depth / typical[:, None, None]
    log_inverse = np.stack(
        [Affine(0.0, f.shift).log_inverse(q) for f, q in zip(fits, relative, strict=True)]
    )
    return link_frames(
        pairs,
        log_inverse,
        prior.valid,
        chunks["flow"][used, 0],
        chunks["flow_weight"][used, 0],
        _depth_ratio(passes, pairs, run.log_depth, spacing),
        spacing,
    )


def _depth_ratio(
    passes: AlignedPasses, pairs: np.ndarray, log_depth: np.ndarray, spacing: int
) -> np.ndarray:
    """Log (E, h, w) of the depth of each point in the second camera over that in the first."""
    _, h, w = log_depth.shape
    y, x = np.mgrid[:h, :w] * float(spacing) + spacing // 2
    pixels = torch.from_numpy(np.stack((x, y), -1).reshape(-1, 2))
    K = torch.from_numpy(passes.cameras.intrinsics)
    directions = rays(pixels.expand(len(K), -1, 2), K).numpy().reshape(len(K), h, w, 3)
    poses = passes.cameras.cam2world
    there = np.linalg.inv(poses[pairs[:, 1]]) @ poses[pairs[:, 0]]
    first = pairs[:, 0]
    turned = np.einsum("ehwc,ec->ehw", directions[first], there[:, 2, :3])
    closer = there[:, 2, 3, None, None] * np.exp(-log_depth[first])
    return np.log(np.maximum(turned + closer, 0.05))


def _in_metres(
    aligned: AlignedRun, witness: Witness, run: RunGrid, prior: PriorGrid, name: str
) -> tuple[AlignedRun, Witness, dict[str, Any]]:
    """One factor a shot, the median over its frames; points, cameras, depth and flow follow."""
    log_factor = np.zeros(len(run.shot))
    spreads = []
    for s in np.unique(run.shot):
        each = []
        for t in np.flatnonzero(run.shot == s):
            known = prior.valid[t] & (run.informed[t] if run.informed[t].any() else True)
            if known.any():
                each.append(
                    np.median(-np.log(prior.inverse_depth[t][known]) - run.log_depth[t][known])
                )
        if each:
            log_factor[run.shot == s] = np.median(each)
            spreads.append(robust_spread(np.array(each), np.ones(len(each))) / np.sqrt(len(each)))
    passes = aligned.passes
    cameras = passes.cameras
    cam2world = cameras.cam2world.copy()
    cam2world[:, :3, 3] *= np.exp(log_factor)[:, None]
    scaled = replace(
        passes,
        log_scale=passes.log_scale + log_factor[passes.pairs[:, :1]],
        cameras=replace(cameras, cam2world=cam2world),
    )
    moved = tuple(
        Affine(f.log_scale - float(c), f.shift)
        for f, c in zip(witness.affine, log_factor, strict=True)
    )
    error = float(np.hypot(max(spreads, default=0.0), _METRIC_SIGMA))
    scale = {
        "status": "metric",
        "factor": float(np.exp(log_factor[0])),
        "source": f"from {name}: median over {len(run.shot)} frames, +-{100 * error:.0f} %",
    }
    return replace(aligned, passes=scaled), replace(witness, affine=moved), scale
