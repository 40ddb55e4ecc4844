"""`dpm export`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import (
    EXPORT,
    OUT,
    Json,
    MotionThreshold,
    Overwrite,
    Quiet,
    Run,
    fields,
    output,
    with_options,
)
from dpm_cli.config import ExportOptions
from dpm_cli.outputs import listed

SETTINGS = fields(
    Point_clouds=(
        "profile",
        "per_frame",
        "min_confidence",
        "max_points",
        "voxel_size",
        "min_views",
        "remove_outliers",
        "normals",
    )
)


@with_options
def export(
    run: Run,
    to: Annotated[str, typer.Option("--to", help=f"{listed()}.", rich_help_panel=OUT)],
    out: Annotated[
        Path | None,
        output("File or folder to write; a missing suffix is added. Default: named after the run."),
    ] = None,
    motion_threshold: MotionThreshold = None,
    options: Annotated[ExportOptions, SETTINGS] = EXPORT,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run in a format that other tools read, and print the path.

    Flow, masks, depth and images are at the source size; npz holds everything at the working size.

    [bold]Examples[/bold]

      dpm export video_dpm --to npz -o video.npz

      dpm export video_dpm --to ply --static --max-points 200000 -o scene.ply

      dpm export video_dpm --to ply --profile 4dgs

      dpm export video_dpm --to ply --static --min-views 3 --remove-outliers --normals -o clean.ply

      dpm export video_dpm --to colmap -o colmap

      dpm export video_dpm --to tum -o cameras.txt

      dpm export video_dpm --to html -o scene.html
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import export_sequence
    from dpm_cli.sequence import Sequence4D

    options = replace(options, reporter=reporter(quiet))
    sequence = Sequence4D.open(run, motion_threshold)
    result = export_sequence(sequence, to, out, options, overwrite=overwrite)
    if as_json:
        emit(json.dumps({"format": result.format, "path": str(result.path), "bytes": result.bytes}))
    else:
        emit(str(result.path))
