"""The depth prior of a run: asked once a frame, aligned with what the passes know, told in the manifest."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.align import ToldDepth
from dpm_cli.config import PriorKind, ReconstructSettings
from dpm_cli.passes.run import grid_spacing
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.align_run import AlignedRun, refine_with_prior
from dpm_cli.pipeline.prior_grid import (
    frame_links,
    prior_grid,
    run_grid,
    with_parallax,
    without_odd_passes,
)
from dpm_cli.prior.affine import Affine, robust_spread
from dpm_cli.prior.choose import MISSING, load_prior
from dpm_cli.prior.estimate import PriorInfo
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
    *,
    told: bool,
) -> HeardPrior:
    """Align the prior with the run, judge it, ask the flows once more beside it, bring the run to metres if it can.

    Args:
        clip: its pictures.
        alone: the run by its passes alone.
        store: of the passes.
        prior: estimates of every picture.
        settings: of the run.
        reporter: told what came of it.
        told: the predictor was told the prior where pairs have no parallax.
    """
    chunks = store.read_chunks()
    spacing = grid_spacing(clip.size, len(chunks["pairs"]))
    said, metric = prior_grid(prior.store, len(clip), spacing)
    aligned = without_odd_passes(alone, chunks["status"])
    typical = typical_inverse(said, alone.shot)
    grid, fits = _aligned(aligned, chunks, said, typical, clip.size)
    spoken = told & ~with_parallax(aligned, chunks["status"])
    witness = Witness(prior.store, fits, typical, *found_error(grid, said, typical, fits), spoken)
    name = prior.info.said
    if witness.trust == 0:
        note = f"{name} contradicts what parallax knows and was not used"
        reporter.note(note)
        return HeardPrior(alone, witness, None, (note,))
    closer = refine_with_prior(alone, clip.size, store, chunks, _told(said, witness), settings)
    if closer is not alone:
        aligned = without_odd_passes(closer, chunks["status"])
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
    grid = run_grid(run, chunks, size, spacing)
    fits, sigma = own_fits(grid, said, typical)
    linked = frame_links(run.passes, chunks, grid, said, fits, typical, spacing)
    return grid, linked_fits(fits, sigma, linked)


def _told(said: PriorGrid, witness: Witness) -> ToldDepth:
    """The prior on the grid, in the run's scale, with the error that it was found to have."""
    relative = said.inverse_depth / witness.typical[:, None, None]
    log_depth = -np.stack([f.log_inverse(q) for f, q in zip(witness.affine, relative, strict=True)])
    sigma = np.where(said.valid, witness.sigma_log / np.sqrt(witness.trust), np.inf)
    return ToldDepth(np.where(said.valid, log_depth, 0), sigma)


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
