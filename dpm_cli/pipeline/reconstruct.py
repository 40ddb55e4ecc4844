"""A video becomes a 4D sequence: decode, pair, predict, reduce, align, fuse, write.

Nothing holds the whole video: working images, passes and frames live on disk and are read when needed. Every stage
leaves whole files, so a run that was stopped goes on where it was and gives the same numbers.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.clip_store import ClipPlan, plan_clip
from dpm_cli.clip_store.clip import decode_clip, fingerprint
from dpm_cli.config import ClipSettings, ReconstructSettings, RunTarget
from dpm_cli.devices import auto_batch_size, peak_memory_bytes, pick_device, pick_dtype
from dpm_cli.errors import DpmError, InterruptedRunError, PartialResultError
from dpm_cli.export import write_run_outputs
from dpm_cli.passes.shots import detect_shots
from dpm_cli.pipeline.align_run import AlignedRun, align_run
from dpm_cli.pipeline.calibration import given_intrinsics
from dpm_cli.pipeline.frames import fuse_run
from dpm_cli.pipeline.manifest import clip_manifest, first_manifest, summary
from dpm_cli.pipeline.passes import pass_graph, run_passes
from dpm_cli.pipeline.prior_run import (
    ClipPrior,
    HeardPrior,
    ToldCamera,
    ask_prior,
    find_intrinsics,
    hear_prior,
)
from dpm_cli.pipeline.run_state import WORK, clear_own_files, examine_folder
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.pipeline.user_masks import UserMasks
from dpm_cli.predictors import load_predictor
from dpm_cli.predictors.protocol import Predictor
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import RunWriter, Sequence4D
from dpm_cli.structures import Clip


@dataclass(frozen=True)
class FinishedRun:
    """A run folder and the line about it."""

    folder: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Machine:
    """A predictor where it runs."""

    predictor: Predictor
    device: torch.device
    dtype: torch.dtype


def reconstruct(
    source: str | Path | list[str],
    output: str | Path | None = None,
    settings: ReconstructSettings | None = None,
    *,
    resume: bool = True,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Sequence4D:
    """Reconstruct one clip and open the result.

    Args:
        source: a video, an image folder, or a list of images.
        output: the run folder; `<stem>_dpm` in the current folder if None.
        settings: everything else; `ReconstructSettings()` is what the command does.
        resume: finish an unfinished run of the same input and settings.
        overwrite: replace another run in the folder.
        reporter: progress; silent if None.

    Raises:
        DpmError: see `dpm_cli.errors`.
    """
    inputs = tuple(source) if isinstance(source, list) else (str(source),)
    folder = Path(output) if output else Path(f"{Path(inputs[0]).stem}_dpm")
    run = reconstruct_many(
        [RunTarget(inputs, folder)],
        settings or ReconstructSettings(),
        resume=resume,
        overwrite=overwrite,
        reporter=reporter,
    )[0]
    return Sequence4D.open(run.folder)


def reconstruct_many(
    targets: list[RunTarget],
    settings: ReconstructSettings,
    *,
    resume: bool = True,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[FinishedRun]:
    """Reconstruct several clips with one loaded model.

    Raises:
        PartialResultError: some failed; the others are written and every failure was reported.
        DpmError: the only one, or all, failed.
    """
    reporter = reporter or SilentReporter()
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    predictor = load_predictor(settings.model, weights=settings.weights, device=device, dtype=dtype)
    for note in predictor.info.notes:
        reporter.note(note)
    machine = _Machine(predictor, device, dtype)
    finished, failures = [], []
    for target in targets:
        try:
            finished.append(_run(target, settings, machine, resume, overwrite, reporter))
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted; what was finished is kept in {target.folder}, the same command goes on"
            ) from None
        except DpmError as error:
            if len(targets) == 1:
                raise
            failures.append(f"{target.inputs[0]}: {error}")
            reporter.note(failures[-1])
    if failures:
        raise PartialResultError(
            f"{len(failures)} of {len(targets)} inputs failed; first: {failures[0]}"
        )
    return finished


def _run(
    target: RunTarget,
    settings: ReconstructSettings,
    machine: _Machine,
    resume: bool,
    overwrite: bool,
    reporter: Reporter,
) -> FinishedRun:
    watch = Stopwatch()
    info = machine.predictor.info
    plan = plan_clip(list(target.inputs), **_clip_options(settings.clip, info))
    identity = {"fingerprint": fingerprint(plan.files), "digest": settings.digest()}
    state = examine_folder(target.folder, **identity, resume=resume, overwrite=overwrite)
    if state.action == "fresh":
        clear_own_files(target.folder)
    writer = RunWriter(
        target.folder,
        state.manifest
        or first_manifest(target, settings, info, machine.device, machine.dtype, identity),
    )
    if state.action != "done":
        _compute(target, settings, machine, plan, writer, watch, reporter)
    outputs = {
        "formats": list(settings.formats),
        "min_confidence": settings.min_confidence,
        "motion_threshold": settings.motion_threshold,
    }
    if not writer.has_stage("outputs") or writer.manifest.get("outputs") != outputs:
        with watch.time("write"):
            write_run_outputs(
                Sequence4D.open(target.folder),
                target.folder,
                settings.formats,
                min_confidence=settings.min_confidence,
                motion_threshold=settings.motion_threshold,
                reporter=reporter,
            )
        writer.manifest["outputs"] = outputs
        writer.manifest["timings_s"] = {**writer.manifest.get("timings_s", {}), **watch.seconds}
        writer.stage_done("outputs")
    reporter.detail(", ".join(f"{k} {v:.1f} s" for k, v in watch.seconds.items()))
    return FinishedRun(target.folder, summary(target.folder, writer.manifest))


def _compute(target, settings, machine, plan, writer, watch, reporter) -> None:
    """Everything up to the frames; what an interrupted run has finished is kept."""
    info = machine.predictor.info
    work = target.folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    writer.write_manifest()
    with watch.time("decode"):
        clip = decode_clip(plan, work / "images", reporter)
    K = given_intrinsics(clip, settings.fov_deg, settings.intrinsics)
    masks = (
        UserMasks(Path(settings.mask_dir), clip.frame_index, clip.size)
        if settings.mask_dir
        else None
    )
    with watch.time("cuts"):
        shot = detect_shots(clip.frames, reporter)
    if shot[-1]:
        reporter.note(
            f"{shot[-1] + 1} shots: frames {', '.join(map(str, np.flatnonzero(np.diff(shot)) + 1))} start new ones"
        )
    graph = pass_graph(shot, settings.pairs)
    pairs = graph.pairs
    batch = writer.manifest.get("batch_size") or settings.batch_size
    pair_bytes = info.pair_bytes_per_pixel * clip.size[0] * clip.size[1]
    batch = batch or auto_batch_size(pair_bytes, machine.device)
    reporter.detail(
        f"{len(clip)} frames, {len(pairs)} pairs, {batch} at a time on {machine.device}"
    )
    writer.write_manifest({**clip_manifest(clip, shot), "pairs": len(pairs), "batch_size": batch})
    prior = _ask_prior(clip, settings, machine, writer, work, watch, reporter)
    told = None
    if prior is not None and not writer.manifest["prior"].get("refused"):
        told = _told_camera(clip, prior, K, settings, watch)
    parts = (clip, graph, K, prior, masks, batch, settings, machine, work, watch, reporter)
    aligned, heard, found = _predict_and_align(told, *parts)
    if told is not None and heard is not None and heard.witness.trust == 0:
        # What is wrong must not have told the focal length either.
        writer.write_manifest({"prior": {**writer.manifest["prior"], "refused": True}})
        shutil.rmtree(work / "passes")
        aligned, heard, found = _predict_and_align(None, *parts)
    scale = heard.scale if heard and heard.scale else writer.manifest["scale"]
    witness = heard.witness if heard else None
    with watch.time("fuse"):
        quality = fuse_run(
            clip, aligned, masks, witness, info.name, scale["status"], writer, reporter
        )
    writer.write_manifest(
        {
            "focal_px": float(np.median(aligned.passes.cameras.intrinsics[:, 0, 0])),
            "cameras_registered": int(aligned.passes.cameras.registered.sum()),
            "scale": scale,
            "notes": [
                *(*plan.notes, *_lost(plan, clip), *found, *aligned.notes),
                *(heard.notes if heard else ()),
            ],
            "quality": quality,
            "timings_s": dict(watch.seconds),
            "peak_memory_bytes": peak_memory_bytes(machine.device),
        }
    )
    writer.stage_done("frames")
    shutil.rmtree(work)


def _ask_prior(clip, settings, machine, writer, work, watch, reporter) -> ClipPrior | None:
    """The depth prior's estimates; which one it is stays as an interrupted run has chosen it."""
    chosen = writer.manifest.get("prior", {"name": settings.prior})["name"]
    with watch.time("prior"):
        prior = ask_prior(
            clip, settings, chosen, machine.device, machine.dtype, work / "prior", reporter
        )
    said = prior.info.to_json() if prior else {"name": "none"}
    writer.write_manifest({"prior": {**writer.manifest.get("prior", {}), **said}})
    return prior


def _told_camera(clip, prior: ClipPrior, K, settings, watch) -> ToldCamera | None:
    if K is not None or settings.per_frame_focal:
        return None
    with watch.time("prepare"):
        return find_intrinsics(clip, prior)


def _predict_and_align(
    told: ToldCamera | None,
    clip,
    graph,
    K,
    prior: ClipPrior | None,
    masks,
    batch,
    settings,
    machine,
    work,
    watch,
    reporter,
) -> tuple[AlignedRun, HeardPrior | None, list[str]]:
    """Cameras and scales of the passes, the prior's part in them, and what was said of the focal length."""
    before = machine.predictor.info.notes
    with watch.time("prepare"):
        machine.predictor.prepare(clip, K if told is None else told.K)
    found = [told.note] if told else []
    found += [note for note in machine.predictor.info.notes if note not in before]
    for note in found:
        reporter.note(note)
    with watch.time("predict"):
        store = run_passes(
            clip,
            graph,
            machine.predictor,
            work / "passes",
            intrinsics=K,
            masks=masks,
            device=machine.device,
            dtype=machine.dtype,
            batch_size=batch,
            reporter=reporter,
        )
    with watch.time("align"):
        aligned = align_run(clip, graph.pairs, store, K, settings, reporter)
    if prior is None:
        return aligned, None, found
    with watch.time("prior"):
        heard = hear_prior(clip, aligned, store, prior, reporter)
    return heard.aligned, heard, found


def _lost(plan: ClipPlan, clip: Clip) -> list[str]:
    missing = len(plan) - len(clip)
    return [f"{missing} of {len(plan)} frames could not be decoded"] if missing else []


def _clip_options(options: ClipSettings, info) -> dict[str, Any]:
    return {
        "long_side": options.size or info.default_long_side,
        "multiple": info.multiple,
        "start": options.start,
        "end": options.end,
        "fps": options.fps,
        "stride": options.stride,
        "max_frames": options.max_frames,
    }
