"""From stored passes to cameras in one world, and what the user should know about them."""

from dataclasses import dataclass, fields

import numpy as np

from dpm_cli.align import Passes, align
from dpm_cli.config import ReconstructSettings
from dpm_cli.fusion import AlignedPasses
from dpm_cli.pass_store import PassStore
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip


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
    return AlignedRun(aligned, found.shot, tuple(notes))


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
