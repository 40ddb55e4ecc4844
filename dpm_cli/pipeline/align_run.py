"""From stored passes to cameras in one world, and what the user should know about them."""

from dataclasses import dataclass, fields, replace

import numpy as np

from dpm_cli.align import (
    DepthCorrection,
    FlowGrid,
    Passes,
    adjust,
    align,
    confidence_change,
    fuse_log_depth,
    smooth_correction,
)
from dpm_cli.config import ReconstructSettings
from dpm_cli.geometry.camera import fov_from_focal
from dpm_cli.passes.fusion import AlignedPasses
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.passes import grid_spacing
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip

_MOVING_SHARE = 0.5
"""Share of the passes that must see the camera move, else there is little parallax for flows to agree on."""
_BELIEVABLE = 0.4
"""Typical change of log depth beyond which a bundle adjustment is not believed. Of a still camera whose surroundings
were taken for moving it was 0.55, of clips whose truth it comes nearer 0.1 to 0.3."""
_FOCAL_SIGMA = 0.03
"""Deviation of log focal length that flows are allowed where it was not given. Far less than what is unknown of it, for
errors of flow are alike over many pixels and the flows sound surer than they are. Of 0.01 to 0.1 it is what came
nearest to the truth of 21 rendered clips (mean error .13 before, .08 after)."""
_CHANGED = 0.02
"""Change of log focal length that is worth telling."""


@dataclass(frozen=True, eq=False)
class AlignedRun:
    """Aligned passes of a clip."""

    passes: AlignedPasses
    shot: np.ndarray
    """(T,) int64, frames that could be put into one world."""
    notes: tuple[str, ...]


def align_run(
    clip: Clip,
    pairs: np.ndarray,
    store: PassStore,
    intrinsics: np.ndarray | None,
    settings: ReconstructSettings,
    reporter: Reporter,
) -> AlignedRun:
    """Align the stored passes; `intrinsics` (3, 3) or (T, 3, 3) at the working size where the user gave them."""
    chunks = store.read_chunks()
    passes = Passes(**{f.name: chunks[f.name] for f in fields(Passes)})
    found = align(
        passes,
        len(clip),
        size=clip.size,
        intrinsics=intrinsics,
        per_frame_focal=settings.per_frame_focal,
    )
    notes = [*_status_notes(passes.status), *found.notes]
    for note in notes:
        reporter.note(note)
    aligned = AlignedPasses(
        store=store,
        pairs=pairs,
        log_scale=found.log_scale[:, None] + found.view_log_offset,
        usable=found.usable,
        cameras=found.cameras,
    )
    moving = passes.status[found.usable] == "ok"
    if moving.any() and moving.mean() >= _MOVING_SHARE:
        known = intrinsics is not None or settings.per_frame_focal
        sigma = 0.0 if known else _FOCAL_SIGMA
        aligned = _adjusted(aligned, passes, chunks, clip, found.shot, sigma)
        for note in _focal_notes(found.cameras.intrinsics, aligned, clip):
            notes.append(note)
            reporter.note(note)
    return AlignedRun(aligned, found.shot, tuple(notes))


def _focal_notes(before: np.ndarray, aligned: AlignedPasses, clip: Clip) -> list[str]:
    """A line where the flows changed the focal length."""
    first, last = (float(np.median(K[:, 0, 0])) for K in (before, aligned.cameras.intrinsics))
    if abs(np.log(last / first)) < _CHANGED:
        return []
    fov = fov_from_focal(last, clip.size[1])
    return [
        f"focal length {first:.0f} px became {last:.0f} px (field of view {fov:.0f} deg) on all flows together"
    ]


def _adjusted(
    aligned: AlignedPasses,
    passes: Passes,
    chunks: dict,
    clip: Clip,
    shot: np.ndarray,
    focal_sigma_log: float,
) -> AlignedPasses:
    """Cameras, focal length and depth that the flows agree on; the first frame of every shot stays where it is.

    Where they agree on a world that is bent beyond belief, as flows of a still camera before moving things do, nothing
    changes.
    """
    used, cameras, frames = aligned.usable, aligned.cameras, len(clip)
    spacing = grid_spacing(clip.size, len(passes))
    pixels = np.mgrid[tuple(slice(spacing // 2, side, spacing) for side in clip.size)]
    pixels = np.stack((pixels[1], pixels[0]), -1).astype(np.float64)
    grid = FlowGrid(aligned.pairs[used], pixels, chunks["flow"][used], chunks["flow_weight"][used])
    every, thin = grid.every(), grid.thinned()
    depth, confidence = passes.log_depth[..., every, every], passes.confidence[..., every, every]
    scaled = depth + aligned.log_scale[..., None, None].astype(np.float32)
    fused = []
    for t in range(frames):
        e, v = np.array(aligned.of_frame(t), int).reshape(-1, 2).T
        fused.append(fuse_log_depth(scaled[e, v], confidence[e, v]))
    log_depth, sure = (np.stack(maps) for maps in zip(*fused, strict=True))
    free = cameras.registered & (np.diff(shot, prepend=-1) == 0)
    found = adjust(
        thin, cameras.cam2world, cameras.intrinsics, log_depth, sure, free, focal_sigma_log
    )
    change = (found.log_depth - log_depth)[found.support > 0.5]
    if not change.size or np.median(np.abs(change - np.median(change))) > _BELIEVABLE:
        return aligned
    correction = DepthCorrection(
        smooth_correction(found.log_depth - log_depth, found.support),
        confidence_change(sure, found.confidence),
        (float(thin.pixels[0, 0, 0]), float(thin.pixels[0, 0, 1])),
        float(spacing * (every.step or 1)),
    )
    moved = replace(cameras, cam2world=found.cam2world, intrinsics=found.intrinsics)
    shrunk = float(cameras.intrinsics[0, 0, 0] / found.intrinsics[0, 0, 0])
    return replace(aligned, cameras=moved, correction=correction, lateral_scale=shrunk)


def _status_notes(status: np.ndarray) -> list[str]:
    """One line for each kind of pass that could not know its depth."""
    meaning = {
        "still": "the camera does not move: depth is a guess with low confidence",
        "rotation": "the camera only turns: depth is a guess with low confidence",
        "untextured": "there is nothing to match",
        "empty": "there was no usable estimate",
    }
    counts = {word: int((status == word).sum()) for word in meaning}
    return [
        f"in {count} of {len(status)} pairs {meaning[word]}"
        for word, count in counts.items()
        if count
    ]
