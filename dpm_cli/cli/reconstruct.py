"""`dpm reconstruct`."""

import json
from pathlib import Path
from typing import Annotated

import typer

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
    model: Annotated[
        str,
        typer.Option(
            envvar="DPM_MODEL",
            help="auto, geometric, dpm-mini, dpm-large or vdpm.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto",
    weights: Annotated[
        str | None,
        typer.Option(
            envvar="DPM_WEIGHTS", help="Weights file for the model.", rich_help_panel=_MODEL
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(envvar="DPM_DEVICE", help="auto, cpu, cuda or mps.", rich_help_panel=_MODEL),
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            envvar="DPM_DTYPE", help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL
        ),
    ] = "auto",
    batch_size: Annotated[
        str, typer.Option(help="Pairs at a time, or auto.", rich_help_panel=_MODEL)
    ] = "auto",
    pairs: Annotated[
        str,
        typer.Option(
            help="auto, complete, strides such as 1,2,4,8, or window:N (vdpm).",
            rich_help_panel=_MODEL,
        ),
    ] = "auto",
    prior: Annotated[
        str,
        typer.Option(
            envvar="DPM_PRIOR",
            help="Depth prior: auto, none, moge-2-small (-base, -large), or a folder of your depth maps.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto",
    prior_kind: Annotated[
        str,
        typer.Option(
            help="What the maps of a folder hold: depth, inverse or metric.", rich_help_panel=_MODEL
        ),
    ] = "depth",
    size: Annotated[
        int | None,
        typer.Option(
            min=32, help="Long side of the working images, pixels.", rich_help_panel=_CLIP
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second to keep.", rich_help_panel=_CLIP)
    ] = None,
    stride: Annotated[
        int, typer.Option(min=1, help="Keep every n-th frame.", rich_help_panel=_CLIP)
    ] = 1,
    start: Annotated[
        float | None, typer.Option(help="First second.", rich_help_panel=_CLIP)
    ] = None,
    end: Annotated[float | None, typer.Option(help="Last second.", rich_help_panel=_CLIP)] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="At most this many frames.", rich_help_panel=_CLIP)
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(
            help="Horizontal field of view of the source, degrees.", rich_help_panel=_CAMERA
        ),
    ] = None,
    intrinsics: Annotated[
        str | None,
        typer.Option(
            help="fx,fy,cx,cy in source pixels, or a file with them.", rich_help_panel=_CAMERA
        ),
    ] = None,
    per_frame_focal: Annotated[
        bool,
        typer.Option(
            "--per-frame-focal", help="The lens zooms during the clip.", rich_help_panel=_CAMERA
        ),
    ] = False,
    mask_dir: Annotated[
        Path | None,
        typer.Option(
            help="Your masks of moving things, non-zero = moves.", rich_help_panel=_CAMERA
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format", help="What to write: ply,flo,masks,preview or none.", rich_help_panel=_OUT
        ),
    ] = "ply,flo,masks,preview",
    min_confidence: Annotated[
        float,
        typer.Option(help="Leave less certain points out of point clouds.", rich_help_panel=_OUT),
    ] = 2.0,
    motion_threshold: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Motion score that counts as moving.", rich_help_panel=_OUT
        ),
    ] = 0.5,
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
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.config import (
        ClipSettings,
        ReconstructSettings,
        parse_batch_size,
        parse_formats,
        parse_prior_kind,
    )
    from dpm_cli.pipeline import plan_runs, reconstruct_many

    settings = ReconstructSettings(
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        batch_size=parse_batch_size(batch_size),
        clip=ClipSettings(size, fps, stride, start, end, max_frames),
        pairs=pairs,
        fov_deg=fov,
        intrinsics=intrinsics,
        per_frame_focal=per_frame_focal,
        mask_dir=str(mask_dir) if mask_dir else None,
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
    done = reconstruct_many(
        targets, settings, resume=resume, overwrite=overwrite, reporter=reporter(quiet, verbose)
    )
    if as_json:
        emit(json.dumps({"runs": [run.summary for run in done]}))
    else:
        for run in done:
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
