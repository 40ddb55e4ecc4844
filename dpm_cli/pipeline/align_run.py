"""From stored passes to cameras in one world, and what the user should know about them."""

from dataclasses import dataclass, fields, replace

import numpy as np

from dpm_cli.align import Alignment, FlowGrid, Passes, ToldDepth, align, refine_on_flows
from dpm_cli.config import ReconstructSettings
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.flows import believable, freedom, refined, refined_note
from dpm_cli.passes.fusion import AlignedPasses
from dpm_cli.passes.run import grid_spacing
from dpm_cli.passes.store import PassStore
from dpm_cli.passes.unmatched import UNMATCHED
from dpm_cli.progress import Reporter
from dpm_cli.structures import Cameras, Clip

_HARDLY = 0.05
"""Share of a pass's pixels."""


@dataclass(frozen=True, eq=False)
class AlignedRun:
    """Aligned passes of a clip."""

    passes: AlignedPasses
    shot: np.ndarray
    """(T,) int64, frames that could be put into one world."""
    focal: FocalEstimate
    notes: tuple[str, ...]
    before: Alignment | None = None
    """What the flows had their say about."""


def align_run(
    clip: Clip,
    store: PassStore,
    intrinsics: np.ndarray | None,
    told_focal: FocalEstimate | None,
    settings: ReconstructSettings,
    reach: int | None,
    reporter: Reporter,
) -> AlignedRun:
    """Align the stored passes and refine them on their flows.

    Args:
        clip: the decoded clip.
        store: every pass of it.
        intrinsics: (3, 3) or (T, 3, 3) at the working size where the user gave them.
        told_focal: what the predictor found for the whole clip.
        settings: of the run.
        reach: see `PairGraph`.
        reporter: hears the notes as they come up.
    """
    chunks = store.read_chunks()
    passes = Passes(**{f.name: chunks[f.name] for f in fields(Passes)})
    found = align(
        passes,
        len(clip),
        size=clip.size,
        intrinsics=intrinsics,
        per_frame_focal=settings.per_frame_focal,
        told_focal=told_focal,
        reach=reach,
    )
    numbers = _number_notes(chunks["not_finite"])
    notes = [*numbers, *_status_notes(passes), *_matched_notes(chunks), *found.notes]
    for note in notes:
        reporter.note(note)
    flows = _flows(chunks, clip.size)
    aligned, focal = _refine(passes, flows, found, store, settings)
    aligned = replace(aligned, reach=reach)
    note = refined_note(found.focal, focal, clip.size[1])
    if note:
        notes.append(note)
        reporter.note(note)
    return AlignedRun(aligned, found.shot, focal, tuple(notes), found)


def refine_with_prior(
    run: AlignedRun,
    size: tuple[int, int],
    store: PassStore,
    chunks: dict[str, np.ndarray],
    told: ToldDepth,
    settings: ReconstructSettings,
) -> AlignedRun:
    """The run with its flows asked again, now beside a prior; as it was where they do not get on.

    Args:
        run: as `align_run` returns it.
        size: (height, width) of the working images.
        store: every pass.
        chunks: all of its chunks, as it reads them.
        told: the prior on the grid of the passes, in the run's scale.
        settings: of the run.
    """
    if run.before is None or run.passes.correction is None:
        return run
    passes = Passes(**{f.name: chunks[f.name] for f in fields(Passes)})
    aligned, focal = _refine(passes, _flows(chunks, size), run.before, store, settings, told)
    if aligned.correction is None:
        return run
    old, new = (refined_note(run.before.focal, f, size[1]) for f in (run.focal, focal))
    notes = [n for n in run.notes if n != old] + ([new] if new else [])
    return replace(run, passes=aligned, focal=focal, notes=tuple(notes))


def _flows(chunks: dict[str, np.ndarray], size: tuple[int, int]) -> FlowGrid:
    spacing = grid_spacing(size, len(chunks["pairs"]))
    return FlowGrid.on_image(chunks["pairs"], chunks["flow"], chunks["flow_weight"], size, spacing)


def _refine(
    passes: Passes,
    flows: FlowGrid,
    found: Alignment,
    store: PassStore,
    settings: ReconstructSettings,
    told: ToldDepth | None = None,
) -> tuple[AlignedPasses, FocalEstimate]:
    """The aligned passes, and the focal length, after the flows had their say."""
    aligned = AlignedPasses(
        store=store,
        pairs=passes.pairs,
        log_scale=found.view_log_scale,
        usable=found.usable,
        cameras=found.cameras,
    )
    sigma_log = freedom(found.focal, per_frame=settings.per_frame_focal)
    better = refine_on_flows(passes, flows, found, focal_sigma_log=sigma_log, told=told)
    if (
        sigma_log > 0
        and better is not None
        and not believable(found.focal, _focal_px(better.cameras))
    ):
        better = refine_on_flows(passes, flows, found, focal_sigma_log=0.0, told=told)
    if better is None:
        return aligned, found.focal
    before, after = (K[0, 0, 0] for K in (found.cameras.intrinsics, better.cameras.intrinsics))
    aligned = replace(
        aligned,
        cameras=better.cameras,
        correction=better.correction,
        lateral_scale=float(before / after),
    )
    return aligned, refined(found.focal, _focal_px(better.cameras))


def _focal_px(cameras: Cameras) -> float:
    return float(np.median(cameras.intrinsics[:, 0, 0]))


def _number_notes(not_finite: np.ndarray) -> list[str]:
    """One line where the predictor gave NaN or infinity for a share (E,) of the pixels of some passes."""
    hit = not_finite > 0
    if not hit.any():
        return []
    share = f"{100 * not_finite[hit].mean():.2g} % of the pixels"
    return [
        f"in {hit.sum()} of {len(hit)} pairs the predictor gave NaN or infinity for {share}: not valid there"
    ]


def _matched_notes(chunks: dict[str, np.ndarray]) -> list[str]:
    """One line where hardly a pixel of some matched passes is seen in the other frame and stands still."""
    few = chunks["flow_weight"].mean((1, 2, 3)) < _HARDLY
    few &= chunks["status"] != UNMATCHED
    if not few.any():
        return []
    return [
        f"in {few.sum()} of {len(few)} pairs hardly anything that stands still is seen twice: "
        "cameras and depth rest on little"
    ]


def _status_notes(passes: Passes) -> list[str]:
    """One line for each kind of pass that could not know its depth."""
    alone = passes.pairs[:, 0] == passes.pairs[:, 1]
    status = passes.status[~alone]
    meaning = {
        UNMATCHED: "the frames have nothing in common: no camera, and depth is a guess without confidence",
        "still": "the camera does not move: depth is a guess with low confidence",
        "rotation": "the camera only turns: depth is a guess with low confidence",
        "untextured": "there is nothing to match",
        "empty": "there was no usable estimate",
    }
    counts = {word: int((status == word).sum()) for word in meaning}
    count = int(alone.sum())
    who = "1 frame stands" if count == 1 else f"{count} frames stand"
    lone = [f"{who} alone: depth is a guess with low confidence"] if count else []
    return lone + [
        f"in {count} of {len(status)} pairs {meaning[word]}"
        for word, count in counts.items()
        if count
    ]
