"""`dpm track`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import Json, Overwrite, Run, output


def track(
    run: Run,
    at: Annotated[
        list[str],
        typer.Option(
            "--at", metavar="X,Y", help="Pixel of the source to follow; may be given many times."
        ),
    ],
    frame: Annotated[
        int, typer.Option(min=0, help="Frame of the run, from 0, in which the points are chosen.")
    ] = 0,
    out: Annotated[
        Path | None, output("File that ends in .csv or .npz. Default: <run>_tracks.csv.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Follow points through the clip, forwards and backwards, and print the path of the result.

    Every frame has the world point, the source pixel, whether it is seen there, and how sure its depth is. Points that
    get hidden go on as they went last.

    [bold]Examples[/bold]

      dpm track video_dpm --at 640,360 --frame 12

      dpm track video_dpm --at 640,360 --at 812,401.5 -o paths.npz
    """
    from dpm_cli.cli.console import emit
    from dpm_cli.errors import UsageError
    from dpm_cli.export.tracks import export_tracks
    from dpm_cli.sequence import Sequence4D

    pixels = []
    for text in at:
        try:
            x, y = (float(part) for part in text.split(","))
        except ValueError:
            raise UsageError(f"--at {text} is not X,Y: two numbers with a comma between") from None
        pixels.append((x, y))
    result = export_tracks(Sequence4D.open(run), frame, pixels, out, overwrite=overwrite)
    if as_json:
        seen = result.table.visible
        told = {"path": str(result.path), "points": seen.shape[1], "visible": seen.mean(0).tolist()}
        emit(json.dumps(told))
    else:
        emit(str(result.path))
