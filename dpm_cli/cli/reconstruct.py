"""`dpm reconstruct`."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dpm_cli.cli.options import OUT, RUN, Json, Quiet, fields, output, with_options
from dpm_cli.config import ReconstructSettings

SETTINGS = fields(
    Output=("formats", "min_confidence", "motion_threshold"),
    Model=(
        "model",
        "weights",
        "device",
        "dtype",
        "batch_size",
        "max_memory",
        "pairs",
        "prior",
        "prior_kind",
    ),
    Which_frames=("size", "fps", "stride", "start", "end", "max_frames", "crop"),
    Camera=("fov_deg", "intrinsics", "intrinsics_size", "per_frame_focal", "mask_dir", "flow_dir"),
)


def _flag(names: str, words: str) -> Any:
    return typer.Option(*names.split(), help=words, rich_help_panel=OUT)


@with_options
def reconstruct(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Videos, folders of images or videos, globs, images."
        ),
    ],
    out: Annotated[
        Path | None, output("Run folder (one input) or folder of runs (several).")
    ] = None,
    settings: Annotated[ReconstructSettings, SETTINGS] = RUN,
    resume: Annotated[bool, _flag("--resume/--no-resume", "Finish an unfinished run.")] = True,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace another run in the folder.")] = False,
    dry_run: Annotated[
        bool, _flag("--dry-run", "Print what would be done and what it would cost.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="auto|ADDRESS",
            help="Spread inputs, and where there is room the pairs of each, over a Ray cluster, or over the cores or "
            "GPUs of this machine (extra `ray`).",
            rich_help_panel="Model",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, _flag("-v --verbose", "Also print timings and counts.")] = False,
) -> None:
    """Turn a video (or photos) of a moving scene into a 4D reconstruction.

    Writes cameras, depth, point clouds, scene flow, optical flow and motion masks into a run folder; prints its path.

    [bold]Examples[/bold]

      dpm reconstruct video.mp4

      dpm reconstruct video.mp4 -o run --start 2 --end 6 --fps 10 --fov 65

      dpm reconstruct photos/ --intrinsics 1200,1200,960,540

      dpm reconstruct video.mp4 --prior depth_maps/ --prior-kind metric

      dpm reconstruct a.mp4 b.mp4 -o runs

      dpm reconstruct videos/ -o runs --ray auto

      dpm reconstruct video.mp4 --dry-run
    """
    from dpm_cli.cli.console import complain, emit, reporter
    from dpm_cli.errors import UnfinishedError
    from dpm_cli.pipeline import plan_runs, reconstruct_many

    targets = plan_targets(inputs, out)
    if dry_run:
        plans = plan_runs(targets, settings)
        if as_json:
            emit(json.dumps({"plans": [p.to_json() for p in plans]}))
        else:
            for plan in plans:
                emit(plan.text())
        return
    run = reconstruct_many
    if ray is not None:
        from dpm_cli.pipeline.ray_runs import reconstruct_on_ray

        run = partial(reconstruct_on_ray, address=ray)
    try:
        done = run(
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
