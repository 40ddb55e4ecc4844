"""`dpm view`."""

from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import RUN, setting


def view(
    run: Annotated[Path, typer.Argument(help="Run folder, or an npz of dpm export.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Keep the page here. Default: a temporary file."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")
    ] = True,
    min_confidence: Annotated[float, setting("min_confidence", min=0)] = RUN.min_confidence,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Look at a run: points in space and time, cameras, a time slider. Prints the page's path.

    The page is one file that needs no server and no network; it can be sent to others (also `dpm export --to html`).
    Its address may end in #frame=12 or #through to begin at that frame or through the camera.

    [bold]Examples[/bold]

      dpm view video_dpm

      dpm view video_dpm --no-browser -o scene.html
    """
    import json
    import tempfile
    import webbrowser

    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import ExportOptions, export_sequence
    from dpm_cli.sequence import Sequence4D

    sequence = Sequence4D.open(run)
    told = reporter(quiet)
    path = output or Path(tempfile.mkdtemp(prefix="dpm_view_")) / f"{sequence.name}.html"
    options = ExportOptions(min_confidence=min_confidence, reporter=told)
    page = export_sequence(sequence, "html", path, options, overwrite=overwrite)
    opened = browser and webbrowser.open(page.path.resolve().as_uri())
    if browser and not opened:
        told.note("no browser was found here: open the page yourself")
    if as_json:
        emit(json.dumps({"path": str(page.path), "bytes": page.bytes, "opened": opened}))
    else:
        emit(str(page.path))
