"""What the passes of a run and its prior know of depth, on one grid of points a frame."""

from dataclasses import replace

import numpy as np
import torch

from dpm_cli.align import fuse_log_depth
from dpm_cli.geometry.camera import rays
from dpm_cli.passes.fusion import AlignedPasses
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.prior.affine import Affine
from dpm_cli.prior.links import Links, link_frames
from dpm_cli.prior.store import PriorStore
from dpm_cli.prior.witness import PriorGrid, RunGrid

_INFORMED_SIGMA = 0.3
"""Relative error of depth up to which parallax is taken to know it."""
_MOVING_SHARE = 0.5
"""Share of the passes of a shot that must see the camera move."""
_STATIC = 0.25
"""Least weight of a flow that neither moves by itself nor is hidden."""


def without_odd_passes(aligned: AlignedRun, status: np.ndarray) -> AlignedRun:
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


def with_parallax(aligned: AlignedRun, status: np.ndarray) -> np.ndarray:
    """(T,) bool: frames that a usable pass sees from a moving camera."""
    passes = aligned.passes
    out = np.zeros(len(passes.cameras), bool)
    out[passes.pairs[(status == "ok") & passes.usable]] = True
    return out


def run_grid(
    aligned: AlignedRun, chunks: dict[str, np.ndarray], size: tuple[int, int], spacing: int
) -> RunGrid:
    """Depth of every frame from its passes on their grid, with what bundle adjustment changed."""
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
        error = 1 / np.maximum(sure, 1e-3)
        depth.append(fused)
        sigma.append(error)
        informed.append(static & (error < _INFORMED_SIGMA))
    return RunGrid(
        np.stack(depth).astype(np.float64), np.stack(sigma), np.stack(informed), aligned.shot
    )


def prior_grid(store: PriorStore, frames: int, spacing: int) -> tuple[PriorGrid, bool]:
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


def frame_links(
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
