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
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.given import given_intrinsics
from dpm_cli.geometry.camera import intrinsics_matrix
from dpm_cli.passes.run import PassGraph, pass_graph, run_passes
from dpm_cli.passes.shots import detect_shots
from dpm_cli.passes.store import PassStore
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.align_run import AlignedRun, align_run
from dpm_cli.pipeline.frames import fuse_run
from dpm_cli.pipeline.manifest import clip_manifest, first_manifest, summary
from dpm_cli.pipeline.prior_run import ClipPrior, HeardPrior, ask_prior, hear_prior
from dpm_cli.pipeline.run_state import WORK, clear_own_files, examine_folder
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.predictors import load_predictor
from dpm_cli.predictors.protocol import Predictor
from dpm_cli.prior.choose import find_prior
from dpm_cli.prior.focal import with_prior
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


@dataclass(frozen=True)
class _Job:
    """One run under way."""

    target: RunTarget
    settings: ReconstructSettings
    machine: _Machine
    plan: ClipPlan
    writer: RunWriter
    watch: Stopwatch
    reporter: Reporter

    @property
    def work(self) -> Path:
        """Folder of what only this run needs, gone when it ends."""
        return self.target.folder / WORK


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
    find_prior(settings.prior, device)  # what is wrong with it is said before any work
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
    job = _Job(target, settings, machine, plan, writer, watch, reporter)
    if state.action != "done":
        _compute(job)
    _write_outputs(job)
    reporter.detail(", ".join(f"{k} {v:.1f} s" for k, v in watch.seconds.items()))
    return FinishedRun(target.folder, summary(target.folder, writer.manifest))


def _write_outputs(job: _Job) -> None:
    """The formats asked for, unless they lie there with the same options."""
    settings, writer = job.settings, job.writer
    outputs = {
        "formats": list(settings.formats),
        "min_confidence": settings.min_confidence,
        "motion_threshold": settings.motion_threshold,
    }
    if writer.has_stage("outputs") and writer.manifest.get("outputs") == outputs:
        return
    with job.watch.time("write"):
        write_run_outputs(
            Sequence4D.open(job.target.folder),
            job.target.folder,
            settings.formats,
            min_confidence=settings.min_confidence,
            motion_threshold=settings.motion_threshold,
            reporter=job.reporter,
        )
    writer.manifest["outputs"] = outputs
    writer.manifest["timings_s"] = {**writer.manifest.get("timings_s", {}), **job.watch.seconds}
    writer.stage_done("outputs")


def _compute(job: _Job) -> None:
    """Everything up to the frames; the passes that an interrupted run has finished are kept."""
    job.work.mkdir(parents=True, exist_ok=True)
    job.writer.write_manifest()
    clip = _decode(job)
    K = given_intrinsics(clip, job.settings.fov_deg, job.settings.intrinsics)
    masks = _masks(job, clip)
    shot = _find_cuts(job, clip)
    graph = pass_graph(shot, job.settings.pairs)
    batch_size = _choose_batch_size(job, clip, shot, graph)
    prior = _ask_prior(job, clip)
    while True:
        told_focal = _prepare(job, clip, K, prior)
        store = _predict(job, clip, graph, K, masks, batch_size)
        aligned = _align(job, clip, store, K, told_focal)
        heard = _hear_prior(job, clip, aligned, store, prior)
        if heard is None or not _misled(told_focal, heard):
            break
        _refuse_prior(job)
    quality = _fuse(job, clip, heard.aligned if heard else aligned, masks, heard)
    _conclude(job, clip, told_focal, aligned, heard, quality)


def _decode(job: _Job) -> Clip:
    with job.watch.time("decode"):
        return decode_clip(job.plan, job.work / "images", job.reporter)


def _masks(job: _Job, clip: Clip) -> UserMasks | None:
    folder = job.settings.mask_dir
    return UserMasks(Path(folder), clip.frame_index, clip.size) if folder else None


def _find_cuts(job: _Job, clip: Clip) -> np.ndarray:
    """Number of the shot of each frame (T,)."""
    with job.watch.time("cuts"):
        shot = detect_shots(clip.frames, job.reporter)
    if shot[-1]:
        starts = ", ".join(map(str, np.flatnonzero(np.diff(shot)) + 1))
        job.reporter.note(f"{shot[-1] + 1} shots: frames {starts} start new ones")
    return shot


def _choose_batch_size(job: _Job, clip: Clip, shot: np.ndarray, graph: PassGraph) -> int:
    """Pairs at a time, frozen in the manifest so that a resumed run computes the same batches."""
    pair_bytes = job.machine.predictor.info.pair_bytes_per_pixel * clip.size[0] * clip.size[1]
    batch = job.writer.manifest.get("batch_size") or job.settings.batch_size
    batch = batch or auto_batch_size(pair_bytes, job.machine.device)
    pairs = len(graph.pairs)
    job.reporter.detail(
        f"{len(clip)} frames, {pairs} pairs, {batch} at a time on {job.machine.device}"
    )
    job.writer.write_manifest({**clip_manifest(clip, shot), "pairs": pairs, "batch_size": batch})
    return batch


def _ask_prior(job: _Job, clip: Clip) -> ClipPrior | None:
    """The depth prior's estimates; which prior it is stays as an interrupted run has chosen it."""
    known = job.writer.manifest.get("prior", {"name": job.settings.prior})
    machine = job.machine
    with job.watch.time("prior"):
        prior = ask_prior(
            clip,
            known["name"],
            job.settings.prior_kind,
            device=machine.device,
            dtype=machine.dtype,
            folder=job.work / "prior",
            reporter=job.reporter,
        )
    said = prior.info.to_json() if prior else {"name": "none"}
    job.writer.write_manifest({"prior": {**known, **said}})
    return prior


def _prepare(
    job: _Job, clip: Clip, K: np.ndarray | None, prior: ClipPrior | None
) -> FocalEstimate | None:
    """Let the predictor see the clip; returns the focal length that was found, if it had to be."""
    predictor = job.machine.predictor
    heeded = prior is not None and not job.writer.manifest["prior"].get("refused")
    with job.watch.time("prepare"):
        found = predictor.prepare(clip, K)
        if found and prior and heeded and not job.settings.per_frame_focal:
            better = with_prior(found, prior.store, len(clip), prior.info.said)
            if better is not None:
                focal_px = torch.tensor(better.focal_px, dtype=torch.float64)
                predictor.prepare(clip, intrinsics_matrix(focal_px, *clip.size).numpy())
                found = better
    note = found.note(clip.size[1]) if found else None
    if note:
        job.reporter.note(note)
    return found


def _predict(
    job: _Job,
    clip: Clip,
    graph: PassGraph,
    K: np.ndarray | None,
    masks: UserMasks | None,
    batch_size: int,
) -> PassStore:
    with job.watch.time("predict"):
        return run_passes(
            clip,
            graph,
            job.machine.predictor,
            job.work / "passes",
            intrinsics=K,
            masks=masks,
            device=job.machine.device,
            dtype=job.machine.dtype,
            batch_size=batch_size,
            reporter=job.reporter,
        )


def _align(
    job: _Job,
    clip: Clip,
    store: PassStore,
    K: np.ndarray | None,
    told_focal: FocalEstimate | None,
) -> AlignedRun:
    with job.watch.time("align"):
        return align_run(clip, store, K, told_focal, job.settings, job.reporter)


def _hear_prior(
    job: _Job, clip: Clip, aligned: AlignedRun, store: PassStore, prior: ClipPrior | None
) -> HeardPrior | None:
    if prior is None:
        return None
    with job.watch.time("prior"):
        return hear_prior(clip, aligned, store, prior, job.reporter)


def _misled(told_focal: FocalEstimate | None, heard: HeardPrior) -> bool:
    """Whether a prior that turned out to be wrong has told the focal length."""
    return told_focal is not None and told_focal.source == "prior" and heard.witness.trust == 0


def _refuse_prior(job: _Job) -> None:
    """All is predicted once more, without its focal length."""
    job.writer.write_manifest({"prior": {**job.writer.manifest["prior"], "refused": True}})
    shutil.rmtree(job.work / "passes")


def _fuse(
    job: _Job, clip: Clip, aligned: AlignedRun, masks: UserMasks | None, heard: HeardPrior | None
) -> dict[str, float]:
    """Write the frames; returns what the manifest says of their quality."""
    name = job.machine.predictor.info.name
    believed = heard is not None and heard.witness.trust > 0
    witness, scale = (heard.witness, heard.scale) if heard and believed else (None, None)
    with job.watch.time("fuse"):
        return fuse_run(
            clip,
            aligned,
            masks,
            witness,
            name,
            scale["status"] if scale else "arbitrary",
            job.writer,
            job.reporter,
        )


def _conclude(
    job: _Job,
    clip: Clip,
    told_focal: FocalEstimate | None,
    aligned: AlignedRun,
    heard: HeardPrior | None,
    quality: dict[str, float],
) -> None:
    """The manifest's last words; the work folder goes."""
    width = clip.size[1]
    told = told_focal.note(width) if told_focal else None
    job.writer.write_manifest(
        {
            "focal_px": aligned.focal.focal_px,
            "focal": aligned.focal.to_json(width),
            "cameras_registered": int(aligned.passes.cameras.registered.sum()),
            "notes": [
                *job.plan.notes,
                *_lost(job.plan, clip),
                *([told] if told else []),
                *aligned.notes,
                *(heard.notes if heard else ()),
            ],
            **({"scale": heard.scale} if heard and heard.scale else {}),
            "quality": quality,
            "timings_s": dict(job.watch.seconds),
            "peak_memory_bytes": peak_memory_bytes(job.machine.device),
        }
    )
    job.writer.stage_done("frames")
    shutil.rmtree(job.work)


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
