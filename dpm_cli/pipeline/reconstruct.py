"""A video becomes a 4D sequence: decode, pair, predict, reduce, align, fuse, write.

Nothing holds the whole video: working images, passes and frames live on disk and are read when needed. Every stage
leaves whole files, so a run that was stopped goes on where it was and gives the same numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpm_cli.clip_store import fingerprint
from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.devices import pick_device, pick_dtype
from dpm_cli.errors import DpmError, InterruptedRunError, PartialResultError
from dpm_cli.export import write_run_outputs
from dpm_cli.pipeline.compute import Machine, compute
from dpm_cli.pipeline.manifest import first_manifest, summary
from dpm_cli.pipeline.plan import plan_target
from dpm_cli.pipeline.run_state import clear_own_files, examine_folder
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.predictors import load_predictor
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import RunWriter, Sequence4D
from dpm_cli.video.inputs import clip_files


@dataclass(frozen=True)
class FinishedRun:
    """A run folder and the line about it."""

    folder: Path
    summary: dict[str, Any]


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
    machine = Machine(predictor, device, dtype, predictor.info.notes)
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
    machine: Machine,
    resume: bool,
    overwrite: bool,
    reporter: Reporter,
) -> FinishedRun:
    watch = Stopwatch()
    info = machine.predictor.info
    files = tuple(clip_files(list(target.inputs)))
    identity = {"fingerprint": fingerprint(files), "digest": settings.digest()}
    state = examine_folder(target.folder, **identity, resume=resume, overwrite=overwrite)
    plan = None if state.action == "done" else plan_target(target, settings.clip, info)
    if state.action == "fresh":
        clear_own_files(target.folder)
    writer = RunWriter(
        target.folder,
        state.manifest
        or first_manifest(target, settings, info, machine.device, machine.dtype, identity),
    )
    if plan is not None:
        compute(plan, settings, machine, writer, watch, reporter)
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
