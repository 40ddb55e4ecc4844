"""`dpm export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import RUN, setting

_CLOUD = "Point clouds"
_OUT = "Output"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or an npz made by this command.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="ply, npz, flo, kitti-flow, kitti-poses, depth, masks, tum, colmap, nerfstudio, usd, glb or html.",
            rich_help_panel=_OUT,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File or folder to write; a missing suffix is added. Default: named after the run.",
            rich_help_panel=_OUT,
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="plain, 3dgs (zero normals, one static cloud) or 4dgs (also time).",
            rich_help_panel=_CLOUD,
        ),
    ] = "plain",
    per_frame: Annotated[
        bool | None,
        typer.Option(
            "--per-frame/--static",
            help="One cloud a frame, or the static scene of the clip. Default: by profile.",
            rich_help_panel=_CLOUD,
        ),
    ] = None,
    min_confidence: Annotated[
        float, setting("min_confidence", panel=_CLOUD, min=0)
    ] = RUN.min_confidence,
    max_points: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most this many points a file (of usd, glb, html: still ones). "
            "Default: all of a frame, a million of a clip.",
            rich_help_panel=_CLOUD,
        ),
    ] = None,
    voxel_size: Annotated[
        float | None,
        typer.Option(
            help="Average a static cloud in voxels of this edge, world units (Open3D).",
            rich_help_panel=_CLOUD,
        ),
    ] = None,
    motion_threshold: Annotated[
        float, setting("motion_threshold", panel=_OUT, min=0, max=1)
    ] = RUN.motion_threshold,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=_OUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Write a run in a format that other tools read, and print the path.

    Flow, masks, depth and images are at the source size; npz holds everything at the working size.

    [bold]Examples[/bold]

      dpm export video_dpm --to npz -o video.npz

      dpm export video_dpm --to ply --static --max-points 200000 -o scene.ply

      dpm export video_dpm --to ply --profile 4dgs

      dpm export video_dpm --to colmap -o colmap

      dpm export video_dpm --to tum -o cameras.txt

      dpm export video_dpm --to html -o scene.html
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import ExportOptions, export_sequence, parse_profile
    from dpm_cli.sequence import Sequence4D

    options = ExportOptions(
        profile=parse_profile(profile),
        per_frame=per_frame,
        min_confidence=min_confidence,
        max_points=max_points,
        voxel_size=voxel_size,
        motion_threshold=motion_threshold,
        reporter=reporter(quiet),
    )
    result = export_sequence(Sequence4D.open(run), to, output, options, overwrite=overwrite)
    if as_json:
        emit(json.dumps({"format": result.format, "path": str(result.path), "bytes": result.bytes}))
    else:
        emit(str(result.path))
