"""`dpm evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpm_cli.cli.options import OUT, Quiet, fields, output, with_options
from dpm_cli.predictors import LOADERS
from dpm_cli.workshop.settings import EvaluateSettings

_WHAT = "What is judged"
SETTINGS = fields(
    What_is_judged=("protocols", "max_pairs", "max_frames"),
    How_models_run=("known_intrinsics", "weights", "device", "dtype", "size"),
)


@with_options
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
    settings: Annotated[EvaluateSettings, SETTINGS] = EvaluateSettings(),
    out: Annotated[Path | None, output("Folder for tables, scores and pictures.")] = None,
    form: Annotated[
        Literal["rich", "markdown", "json", "csv"],
        typer.Option("--format", help="What is printed.", rich_help_panel=OUT),
    ] = "rich",
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=OUT)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Write into a folder that holds things.", rich_help_panel=OUT
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Score models on data with truth, or a finished run against its truth.

    Errors: depth (absrel, delta), the four maps in unit mean norm (epe_p11 ...), scene flow, optical flow, cameras
    (rot_deg, ate, rpe), motion masks, objects (object_found, object_rpe), matches, focal length, each where the data
    can judge it; published numbers stand beside ours where data and protocol are the same. With -o also every number,
    the worst cases as pictures.

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
    if sum((bool(sources), truth is not None, suite is not None)) != 1:
        raise UsageError("give one of --data NAME=PATH, --truth PATH or --suite quick")
    if suite is None and not names:
        raise UsageError(
            "name a model to evaluate" if truth is None else "name the run to evaluate"
        )
    if out is not None:
        check_folder(out, overwrite)
    says = reporter(quiet)
    if suite is not None:
        scores = run.evaluate_quick(names, settings, says)
    elif truth is not None:
        scores = [s for name in names for s in run.evaluate_run(Path(name), truth, says)]
    else:
        scores = run.evaluate_models(names, sources, settings, says)
    if out is not None:
        write_outputs(scores, out, quick=suite is not None)
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
