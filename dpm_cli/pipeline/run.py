"""One run: may it start, go on or answer at once; then its frames and outputs, under the folder's lock."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpm_cli.clip_store import fingerprint
from dpm_cli.config import NOT_OF_NUMBERS, ReconstructSettings, RunTarget
from dpm_cli.devices import peak_memory_bytes
from dpm_cli.export import write_run_outputs
from dpm_cli.pipeline.brought import check_brought
from dpm_cli.pipeline.compute import compute
from dpm_cli.pipeline.disk import require_space
from dpm_cli.pipeline.lock import folder_lock
from dpm_cli.pipeline.machine import Machine, memory_ends_in_one_line
from dpm_cli.pipeline.manifest import first_manifest, summary
from dpm_cli.pipeline.memory import over_budget
from dpm_cli.pipeline.pass_work import Spread
from dpm_cli.pipeline.plan import disk_bytes, plan_target
from dpm_cli.pipeline.quality import run_quality, unexplained
from dpm_cli.pipeline.recover import changed_files, drop_damaged, formats_of, is_result
from dpm_cli.pipeline.run_state import (
    WORK,
    clear_own_files,
    examine_folder,
    output_files,
    own_bytes,
)
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.progress import Reporter
from dpm_cli.sequence import RunWriter, Sequence4D
from dpm_cli.video.inputs import clip_files


@dataclass(frozen=True)
class FinishedRun:
    """A run folder and the line about it."""

    folder: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class Rights:
    """What may happen to a folder that is not empty."""

    resume: bool
    """Go on with an unfinished run of the same input and settings."""
    overwrite: bool
    """Replace another run."""


def run_target(
    target: RunTarget,
    settings: ReconstructSettings,
    machine: Machine,
    rights: Rights,
    reporter: Reporter,
    spread: Spread | None = None,
) -> FinishedRun:
    """Reconstruct one clip, or answer from what is there; `spread` gives other processes a part of the work.

    Raises:
        DpmError: see `dpm_cli.errors`.
    """
    files = tuple(clip_files(list(target.inputs)))
    identity = {"fingerprint": fingerprint(files), "digest": settings.digest()}
    state = examine_folder(target.folder, **identity, **vars(rights))
    outputs = {name: getattr(settings, name) for name in NOT_OF_NUMBERS}
    outputs["formats"] = list(settings.formats)
    same = state.manifest.get("outputs") == outputs and "outputs" in state.manifest["stages"]
    bad = [] if state.action == "fresh" else changed_files(target.folder)
    if state.action == "done" and same and not bad:
        return FinishedRun(target.folder, summary(target.folder, state.manifest))
    watch = Stopwatch()
    info = machine.predictor.info
    plan = None
    if state.action != "done" or any(map(is_result, bad)):
        # What is wrong with the input, or with the disk, is said before anything of an older run is touched.
        plan = plan_target(target, settings.clip, info)
        check_brought(plan, settings, machine.predictor)
        require_space(target.folder, disk_bytes(plan, settings), own_bytes(target.folder))
    with folder_lock(target.folder):
        # Another process may have been here since.
        state = examine_folder(target.folder, **identity, **vars(rights))
        if state.action == "fresh":
            clear_own_files(target.folder)
        fresh = first_manifest(target, settings, info, machine.device, machine.dtype, identity)
        writer = RunWriter(target.folder, state.manifest or fresh)
        bad = [] if state.action == "fresh" else drop_damaged(writer, reporter)
        if "frames" not in writer.manifest["stages"] and plan is not None:
            with memory_ends_in_one_line():
                compute(plan, settings, machine, writer, watch, reporter, spread)
        shutil.rmtree(target.folder / WORK, ignore_errors=True)
        repair = same and state.action == "done"
        formats = formats_of(bad) if repair else settings.formats
        with watch.time("write"):
            _write_outputs(target.folder, settings, formats, writer, reporter)
        peak = peak_memory_bytes(machine.device)
        if over := over_budget(settings.max_memory, peak["ram"]):
            reporter.note(over)
        writer.manifest["peak_memory_bytes"] = peak
        writer.manifest["outputs"] = outputs
        writer.manifest["timings_s"] = {**writer.manifest.get("timings_s", {}), **watch.seconds}
        writer.stage_done("outputs")
    reporter.detail(", ".join(f"{k} {v:.1f} s" for k, v in watch.seconds.items()))
    return FinishedRun(target.folder, summary(target.folder, writer.manifest))


def _write_outputs(
    folder: Path,
    settings: ReconstructSettings,
    formats: tuple[str, ...],
    writer: RunWriter,
    reporter: Reporter,
) -> None:
    """What is made from the frames: the numbers about the run, and the files that the user asked for."""
    sequence = Sequence4D.open(folder, settings.motion_threshold)
    quality = run_quality(sequence)
    doubt, notes = unexplained(quality), writer.manifest["notes"]
    if doubt and doubt not in notes:
        reporter.note(doubt)
        notes.append(doubt)
    writer.manifest["quality"] = quality
    write_run_outputs(
        sequence, folder, formats, min_confidence=settings.min_confidence, reporter=reporter
    )
    for path in output_files(folder):
        writer.record(path)
