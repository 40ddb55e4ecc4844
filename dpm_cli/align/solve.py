"""From passes to cameras in one world: focal length, scales, first poses, optimisation, honest leftovers."""

import numpy as np
import torch

from dpm_cli.align.graph import connected_parts, tree_poses, triangle_agreement
from dpm_cli.align.passes import Passes, measured_poses, with_focal
from dpm_cli.align.pose_graph import GraphState, PassMeasurements, optimise
from dpm_cli.align.result import Alignment
from dpm_cli.align.scales import DepthOffsets, depth_offsets, solve_scales
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.given import given_focal
from dpm_cli.focal.passes import focal_of_passes
from dpm_cli.geometry.camera import intrinsics_matrix
from dpm_cli.geometry.rigid import interpolate, invert
from dpm_cli.structures import Cameras

_CONTRADICTED = 0.02
"""A pass below this weight is left out."""
_MOST_STRAIN = 30.0
"""Growth of the square misfit within a loop: passes may all err by five of their deviations to one side."""
_LEAST_CHI2 = 0.1
"""Square misfit below which passes agree too well to be strained."""


def align(
    passes: Passes,
    frames: int,
    *,
    size: tuple[int, int],
    intrinsics: np.ndarray | None = None,
    per_frame_focal: bool = False,
    told_focal: FocalEstimate | None = None,
    reach: int | None = None,
) -> Alignment:
    """Cameras and scales that explain the passes.

    Args:
        passes: E passes; none, or none usable, is allowed and gives unregistered cameras.
        frames: T.
        size: (height, width) of the working images.
        intrinsics: (3, 3) or (T, 3, 3) if known; the passes must have been reduced with them.
        per_frame_focal: the lens zooms, or the frames are photos of different cameras.
        told_focal: what the predictor was told to make its maps with, if anything.
        reach: frames between those of a pass from which on it closes a loop; None = none does.
    """
    passes = passes.thinned()
    usable, alone = passes.usable(), passes.alone()
    used, rows = passes.select(usable), np.flatnonzero(usable)
    measured = passes.select(usable | alone)
    K, focal = _intrinsics(measured, frames, size, intrinsics, per_frame_focal, told_focal)
    lone = np.isin(np.arange(frames), passes.pairs[alone, 0])
    if len(used) == 0:
        return _nothing(passes, alone, lone, K, focal)
    if intrinsics is None:
        used = with_focal(used, K[:, 0, 0], size)
    gap = np.abs(np.diff(used.pairs, axis=1))[:, 0]
    loops = np.zeros(len(used), bool) if reach is None else gap > reach
    state, offsets = _solve(used, frames, loops)
    weight = state.weight.numpy()
    kept = weight > _CONTRADICTED
    part = connected_parts(used.pairs[kept], frames)
    cam2world, registered = _anchored(state.cam2world.numpy(), part)
    registered |= lone
    shot, cam2world = _fill(cam2world, registered, part)
    log_scale, level = state.log_scale.numpy(), state.level.numpy()
    cam2world, log_scale, level = _typical_scale(
        cam2world, log_scale, level, shot, used.pairs, kept
    )
    view_offset = level[used.pairs] - offsets.offset - log_scale[:, None]
    accepted = _spread(kept, rows, len(passes))
    return Alignment(
        cameras=Cameras(cam2world, K, registered),
        log_scale=_spread(log_scale, rows, len(passes)),
        view_log_offset=_spread(np.where(kept[:, None], view_offset, 0), rows, len(passes)),
        usable=accepted | alone,
        shot=shot,
        focal=focal,
        notes=_notes(usable | alone, kept, registered, shot, used),
    )


def _solve(used: Passes, frames: int, loops: np.ndarray) -> tuple[GraphState, DepthOffsets]:
    """Scales from depth, a tree of the passes that triangles confirm, then all together, then `loops` (E,) closed."""
    offsets = depth_offsets(used, frames)
    scales = solve_scales(used.pairs, frames, offsets)
    offsets = depth_offsets(used, frames, scales.log_scale)
    scales = solve_scales(used.pairs, frames, offsets)
    pose, covariance = measured_poses(used)
    scaled = pose.copy()
    scaled[:, :3, 3] *= np.exp(scales.log_scale)[:, None]
    part = connected_parts(used.pairs, frames)
    reliability = triangle_agreement(used.pairs, scaled, frames) * used.pose_inliers.clip(0.05, 1)
    start = tree_poses(used.pairs, scaled, reliability, part)
    anchors = np.zeros(frames, bool)
    anchors[np.unique(part, return_index=True)[1]] = True
    measured = PassMeasurements.make(used.pairs, pose, covariance, offsets)
    none = np.zeros(len(used), bool)
    found = optimise(measured, start, scales.level, scales.log_scale, anchors, none)
    return _closed(used.pairs, measured, found, anchors, loops), offsets


def _closed(
    pairs: np.ndarray,
    measured: PassMeasurements,
    drifted: GraphState,
    anchors: np.ndarray,
    loops: np.ndarray,
) -> GraphState:
    """The graph with its loops closed, from where drift has left it.

    Drift of a few hundred passes that all err a little to one side outvotes the few that know better, so those are
    judged by each other. One that strains the passes within its loop beyond belief shows another place: it is not.
    """
    trusted = loops.copy()
    start = (drifted.cam2world.numpy(), drifted.level.numpy(), drifted.log_scale.numpy())
    while trusted.any():
        closed = optimise(measured, *start, anchors, trusted)
        wrong = trusted & (_strain(pairs, loops, drifted, closed) > _MOST_STRAIN)
        if not wrong.any():
            return closed
        trusted &= ~wrong
    return drifted


def _strain(
    pairs: np.ndarray, loops: np.ndarray, before: GraphState, after: GraphState
) -> np.ndarray:
    """By what factor (E,) closing a loop makes the misfit of the passes within it larger; 1 for other passes."""
    found = np.ones(len(pairs))
    low, high = pairs.min(1), pairs.max(1)
    for e in np.flatnonzero(loops):
        inside = ~loops & (low >= low[e]) & (high <= high[e])
        old, new = (float(np.median(s.chi2.numpy()[inside])) for s in (before, after))
        found[e] = new / max(old, _LEAST_CHI2)
    return found


def _intrinsics(
    used: Passes,
    frames: int,
    size: tuple[int, int],
    given: np.ndarray | None,
    per_frame: bool,
    told: FocalEstimate | None,
) -> tuple[np.ndarray, FocalEstimate]:
    """K (T, 3, 3) and the focal length; without any pass that is the long side."""
    if given is not None:
        K = np.broadcast_to(given, (frames, 3, 3)).astype(np.float64).copy()
        return K, given_focal(K)
    if len(used) == 0:
        focal, estimate = np.full(frames, float(max(size))), _unmeasured(size)
    else:
        focal, estimate = focal_of_passes(
            used.pairs[:, 0],
            used.focal_px[:, 0],
            used.focal_sigma_log,
            frames,
            per_frame=per_frame,
            told=told,
        )
    return intrinsics_matrix(torch.from_numpy(focal), *size).numpy(), estimate


def _unmeasured(size: tuple[int, int]) -> FocalEstimate:
    return FocalEstimate(float(max(size)), 1.0, "assumed", "no pair could be used")


def _nothing(
    passes: Passes, alone: np.ndarray, lone: np.ndarray, K: np.ndarray, focal: FocalEstimate
) -> Alignment:
    """No pass joins two frames: each is a shot of its own, or unknown; the first camera is the world."""
    frames, count = len(lone), len(passes)
    registered = lone | (np.arange(frames) == 0)
    cameras = Cameras(np.tile(np.eye(4), (frames, 1, 1)), K, registered)
    shot = np.maximum(np.cumsum(registered) - 1, 0).astype(np.int64)
    unknown = int((~registered).sum())
    notes = (
        (f"no pair could be used: {unknown} of {frames} cameras are unknown",) if unknown else ()
    )
    none, offset = np.zeros(count), np.zeros((count, 2))
    return Alignment(cameras, none, offset, alone, shot, focal, notes)


def _anchored(cam2world: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each part moved so that its first camera is the identity; frames alone in their part are not registered."""
    first = np.unique(part, return_index=True)[1][part]
    anchored = (invert(torch.from_numpy(cam2world[first])) @ torch.from_numpy(cam2world)).numpy()
    anchored[first == np.arange(len(part))] = np.eye(4)
    return anchored, np.bincount(part)[part] > 1


def _fill(
    cam2world: np.ndarray, registered: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shots and cameras, where unregistered frames join the shot around them and get an interpolated camera."""
    filled, known = cam2world.copy(), np.flatnonzero(registered)
    if not len(known):
        filled[:] = np.eye(4)
        return np.zeros(len(part), np.int64), filled
    nearest = known[np.searchsorted(known, np.arange(len(part)), side="right").clip(1) - 1]
    shot = np.unique(part[nearest], return_inverse=True)[1].astype(np.int64)
    for t in np.flatnonzero(~registered):
        mine = known[shot[known] == shot[t]]
        before, after = mine[mine < t], mine[mine > t]
        if len(before) and len(after):
            a, b = int(before[-1]), int(after[0])
            share = torch.tensor((t - a) / (b - a), dtype=torch.float64)
            ends = torch.from_numpy(cam2world[[a, b]])
            filled[t] = interpolate(ends[0], ends[1], share).numpy()
        else:
            filled[t] = cam2world[before[-1] if len(before) else after[0]]
    return shot, filled


def _typical_scale(
    cam2world: np.ndarray,
    log_scale: np.ndarray,
    level: np.ndarray,
    shot: np.ndarray,
    pairs: np.ndarray,
    kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each shot in the median scale of its own passes, so that a metric predictor stays metric."""
    cam2world, log_scale, level = cam2world.copy(), log_scale.copy(), level.copy()
    for s in np.unique(shot):
        mine = shot[pairs[:, 0]] == s
        if not (mine & kept).any():
            continue
        typical = np.median(log_scale[mine & kept])
        log_scale[mine] -= typical
        level[shot == s] -= typical
        cam2world[shot == s, :3, 3] *= np.exp(-typical)
    return cam2world, log_scale, level


def _spread(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Values of the usable passes at their place among all, zeros elsewhere."""
    out = np.zeros((count, *values.shape[1:]), values.dtype)
    out[rows] = values
    return out


def _notes(
    usable: np.ndarray, kept: np.ndarray, registered: np.ndarray, shot: np.ndarray, used: Passes
) -> tuple[str, ...]:
    notes = []
    if (~usable).any():
        notes.append(f"{(~usable).sum()} of {len(usable)} pairs gave no relative camera")
    if (~kept).any():
        notes.append(
            f"{(~kept).sum()} of {len(usable)} pairs contradict the others and were left out"
        )
    if (~registered).any():
        notes.append(
            f"{(~registered).sum()} of {len(registered)} cameras are not known and were interpolated"
        )
    if shot.max(initial=0) > 0:
        notes.append(
            f"the clip falls into {shot.max() + 1} parts that share neither world nor scale"
        )
    if (used.status == "still").all():
        notes.append("the camera stands still: depth has no parallax to rest on")
    elif np.isin(used.status, ("still", "rotation")).all():
        notes.append("the camera only turns: depth has no parallax to rest on")
    return tuple(notes)
