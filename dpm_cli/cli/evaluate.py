"""`dpm evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpm_cli.cli.options import CLIP, RUN, setting
from dpm_cli.predictors import LOADERS

_WHAT = "What is judged"
_HOW = "How models run"
_OUT = "Output"


def evaluate(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...|RUN]",
            help=f"Models ({', '.join(LOADERS)}; baselines constant-depth, dis-flow, static:MODEL), or one run.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="NAME=PATH", help="Data set and its folder.", rich_help_panel=_WHAT
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Truth of a finished RUN: a file of dpm synth, or NAME=PATH.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    suite: Annotated[
        Literal["quick"] | None,
        typer.Option(
            help="quick: rendered test scenes, offline, minutes on a CPU.", rich_help_panel=_WHAT
        ),
    ] = None,
    protocol: Annotated[
        Literal["both", "pairs", "video"],
        typer.Option(
            help="Pairs of frames, whole reconstructions, or both.", rich_help_panel=_WHAT
        ),
    ] = "both",
    max_pairs: Annotated[
        int,
        typer.Option(
            min=1, help="Pairs of each kind per sequence, evenly spaced.", rich_help_panel=_WHAT
        ),
    ] = 5,
    max_frames: Annotated[
        int | None,
        typer.Option(min=3, help="Frames of each sequence to reconstruct.", rich_help_panel=_WHAT),
    ] = None,
    known_intrinsics: Annotated[
        bool,
        typer.Option(
            "--known-intrinsics",
            help="Give models the true focal length.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    weights: Annotated[str | None, setting("weights", panel=_HOW)] = RUN.weights,
    device: Annotated[str, setting("device", panel=_HOW)] = RUN.device,
    dtype: Annotated[str, setting("dtype", panel=_HOW)] = RUN.dtype,
    size: Annotated[int | None, setting("size", of=CLIP, panel=_HOW, min=32)] = CLIP.size,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for tables, scores and pictures.", rich_help_panel=_OUT
        ),
    ] = None,
    form: Annotated[
        Literal["rich", "markdown", "json", "csv"],
        typer.Option("--format", help="What is printed.", rich_help_panel=_OUT),
    ] = "rich",
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=_OUT)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Write into a folder that holds things.", rich_help_panel=_OUT
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Score models on data with truth, or a finished run against its truth.

    Errors: depth (absrel, delta), the four maps in unit mean norm (epe_p11 ...), scene flow, optical flow, cameras
    (rot_deg, ate, rpe), motion masks, matches, focal length, each where the data can judge it; published numbers
    stand beside ours where data and protocol are the same. With -o also every number, the worst cases as pictures.

    Data sets: sintel, sintel-clean, bonn, tum, kitti-depth, kitti-flow, kitti-sceneflow, 7scenes, movi, pointodyssey,
    spring, waymo, tapvid3d, davis, middlebury, flyingchairs, redwood, slambook, synth, each as it is published.

    [bold]Examples[/bold]

      dpm evaluate --suite quick

      dpm evaluate geometric dpm-mini dis-flow --data sintel=MPI-Sintel --data davis=DAVIS -o scores

      dpm evaluate clip_dpm --truth clip_truth.npz --format json
    """
    from dpm_cli.cli.console import reporter
    from dpm_cli.errors import UsageError
    from dpm_cli.workshop.evaluate import run
    from dpm_cli.workshop.evaluate.outputs import check_folder, worst_cases, write_outputs

    names, sources = subjects or [], run.parse_data(data or [])
    settings = run.EvaluateSettings(
        weights=weights,
        device=device,
        dtype=dtype,
        size=size,
        protocols=protocol,
        known_intrinsics=known_intrinsics,
        max_pairs=max_pairs,
        max_frames=max_frames,
    )
    if sum((bool(sources), truth is not None, suite is not None)) != 1:
        raise UsageError("give one of --data NAME=PATH, --truth PATH or --suite quick")
    if suite is None and not names:
        raise UsageError(
            "name a model to evaluate" if truth is None else "name the run to evaluate"
        )
    if output is not None:
        check_folder(output, overwrite)
    says = reporter(quiet)
    if suite is not None:
        scores = run.evaluate_quick(names, settings, says)
    elif truth is not None:
        scores = [s for name in names for s in run.evaluate_run(Path(name), truth, says)]
    else:
        scores = run.evaluate_models(names, sources, settings, says)
    if output is not None:
        write_outputs(scores, output, quick=suite is not None)
    for line in worst_cases(scores):
        says.note(f"worst in {line}")
    _print(scores, "json" if as_json else form)


def _print(scores: list, form: str) -> None:
    from rich.console import Console

    from dpm_cli.cli.console import emit
    from dpm_cli.workshop.evaluate.tables import WRITERS, print_rich

    if form == "rich":
        print_rich(scores, Console())
    else:
        emit(WRITERS[form](scores))
