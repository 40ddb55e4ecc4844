"""`dpm report`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import RUN, setting


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, or an npz of dpm export.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Page to write. Default: <run>_report.html."),
    ] = None,
    min_confidence: Annotated[float, setting("min_confidence", min=0)] = RUN.min_confidence,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Write one web page about a run: pictures, the camera's path, numbers, notes and warnings. Prints its path.

    The page needs no server, no network and no script (also `dpm export --to report`).

    [bold]Examples[/bold]

      dpm report video_dpm

      dpm report video_dpm -o about.html
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import ExportOptions, export_sequence
    from dpm_cli.sequence import Sequence4D

    options = ExportOptions(min_confidence=min_confidence, reporter=reporter(quiet))
    page = export_sequence(Sequence4D.open(run), "report", output, options, overwrite=overwrite)
    if as_json:
        emit(json.dumps({"path": str(page.path), "bytes": page.bytes}))
    else:
        emit(str(page.path))
