"""`dpm reconstruct`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dpm_cli.cli.options import CLIP, RUN, setting

_CLIP = "Which frames"
_CAMERA = "Camera"
_MODEL = "Model"
_OUT = "Output"


def reconstruct(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Videos, folders of images or videos, globs, images."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Run folder (one input) or folder of runs (several).",
            rich_help_panel=_OUT,
        ),
    ] = None,
    model: Annotated[str, setting("model", panel=_MODEL)] = RUN.model,
    weights: Annotated[str | None, setting("weights", panel=_MODEL)] = RUN.weights,
    device: Annotated[str, setting("device", panel=_MODEL)] = RUN.device,
    dtype: Annotated[str, setting("dtype", panel=_MODEL)] = RUN.dtype,
    batch_size: Annotated[str, setting("batch_size", panel=_MODEL)] = "auto",
    pairs: Annotated[str, setting("pairs", panel=_MODEL)] = RUN.pairs,
    prior: Annotated[str, setting("prior", panel=_MODEL)] = RUN.prior,
    prior_kind: Annotated[str, setting("prior_kind", panel=_MODEL)] = RUN.prior_kind,
    size: Annotated[int | None, setting("size", of=CLIP, panel=_CLIP, min=32)] = CLIP.size,
    fps: Annotated[float | None, setting("fps", of=CLIP, panel=_CLIP)] = CLIP.fps,
    stride: Annotated[int, setting("stride", of=CLIP, panel=_CLIP, min=1)] = CLIP.stride,
    start: Annotated[float | None, setting("start", of=CLIP, panel=_CLIP)] = CLIP.start,
    end: Annotated[float | None, setting("end", of=CLIP, panel=_CLIP)] = CLIP.end,
    max_frames: Annotated[
        int | None, setting("max_frames", of=CLIP, panel=_CLIP, min=1)
    ] = CLIP.max_frames,
    crop: Annotated[str, setting("crop", of=CLIP, panel=_CLIP)] = CLIP.crop,
    fov: Annotated[float | None, setting("fov_deg", "--fov", panel=_CAMERA)] = RUN.fov_deg,
    intrinsics: Annotated[str | None, setting("intrinsics", panel=_CAMERA)] = RUN.intrinsics,
    intrinsics_size: Annotated[str | None, setting("intrinsics_size", panel=_CAMERA)] = None,
    per_frame_focal: Annotated[
        bool, setting("per_frame_focal", "--per-frame-focal", panel=_CAMERA)
    ] = RUN.per_frame_focal,
    mask_dir: Annotated[str | None, setting("mask_dir", panel=_CAMERA)] = RUN.mask_dir,
    flow_dir: Annotated[str | None, setting("flow_dir", panel=_CAMERA)] = RUN.flow_dir,
    formats: Annotated[str, setting("formats", "--format", panel=_OUT)] = ",".join(RUN.formats),
    min_confidence: Annotated[float, setting("min_confidence", panel=_OUT)] = RUN.min_confidence,
    motion_threshold: Annotated[
        float, setting("motion_threshold", panel=_OUT, min=0, max=1)
    ] = RUN.motion_threshold,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume", help="Finish an unfinished run.", rich_help_panel=_OUT
        ),
    ] = True,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace another run in the folder.", rich_help_panel=_OUT
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be done and what it would cost.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=_OUT)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="Also print timings and counts.", rich_help_panel=_OUT
        ),
    ] = False,
) -> None:
    """Turn a video (or photos) of a moving scene into a 4D reconstruction.

    Writes cameras, depth, point clouds, scene flow, optical flow and motion masks into a run folder; prints its path.

    [bold]Examples[/bold]

      dpm reconstruct video.mp4

      dpm reconstruct video.mp4 -o run --start 2 --end 6 --fps 10 --fov 65

      dpm reconstruct photos/ --intrinsics 1200,1200,960,540

      dpm reconstruct video.mp4 --prior depth_maps/ --prior-kind metric

      dpm reconstruct a.mp4 b.mp4 -o runs

      dpm reconstruct video.mp4 --dry-run
    """
    from dpm_cli.cli.console import complain, emit, reporter
    from dpm_cli.config import (
        ClipSettings,
        ReconstructSettings,
        parse_batch_size,
        parse_formats,
        parse_prior_kind,
        parse_size,
    )
    from dpm_cli.errors import UnfinishedError
    from dpm_cli.pipeline import plan_runs, reconstruct_many

    settings = ReconstructSettings(
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        batch_size=parse_batch_size(batch_size),
        clip=ClipSettings(size, fps, stride, start, end, max_frames, crop),
        pairs=pairs,
        fov_deg=fov,
        intrinsics=intrinsics,
        intrinsics_size=parse_size(intrinsics_size) if intrinsics_size else None,
        per_frame_focal=per_frame_focal,
        mask_dir=mask_dir,
        flow_dir=flow_dir,
        prior=prior,
        prior_kind=parse_prior_kind(prior_kind),
        formats=parse_formats(formats),
        min_confidence=min_confidence,
        motion_threshold=motion_threshold,
    )
    targets = plan_targets(inputs, output)
    if dry_run:
        plans = plan_runs(targets, settings)
        if as_json:
            emit(json.dumps({"plans": [p.to_json() for p in plans]}))
        else:
            for plan in plans:
                emit(plan.text())
        return
    try:
        done = reconstruct_many(
            targets, settings, resume=resume, overwrite=overwrite, reporter=reporter(quiet, verbose)
        )
    except UnfinishedError as error:
        _show(error.finished, error.failures, as_json)
        if quiet:
            for failure in error.failures:
                complain(f"{failure.input}: {failure.error}")
        raise
    _show(done, [], as_json)


def _show(finished: list[Any], failures: list[Any], as_json: bool) -> None:
    """The runs that were written, on stdout; in JSON also why others were not."""
    from dpm_cli.cli.console import emit

    if as_json:
        failed = [vars(failure) for failure in failures]
        emit(json.dumps({"runs": [run.summary for run in finished], "failed": failed}))
    else:
        for run in finished:
            emit(str(run.folder))


def plan_targets(inputs: list[str], output: Path | None):
    """Which input goes into which folder: `-o` is the run itself for one, the parent of the runs for several."""
    from dpm_cli.config import RunTarget
    from dpm_cli.video.inputs import clip_name, split_inputs

    groups = split_inputs(inputs)
    if len(groups) == 1:
        return [RunTarget(tuple(groups[0]), output or Path(f"{clip_name(groups[0])}_dpm"))]
    parent = output or Path()
    plain = [clip_name(group) for group in groups]
    names: list[str] = []
    for place, name in enumerate(plain):
        # The first of a name keeps it, whatever numbers the others need.
        tried = (name, *(f"{name}_{n}" for n in range(2, len(groups) + 2)))
        later = plain[place + 1 :] if name in names else ()
        names.append(next(t for t in tried if t not in names and t not in later))
    return [
        RunTarget(tuple(group), parent / f"{name}_dpm")
        for group, name in zip(groups, names, strict=True)
    ]
