"""`dpm view`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import (
    CONFIDENCE,
    EXPORT,
    Json,
    Overwrite,
    Quiet,
    Run,
    output,
    with_options,
)
from dpm_cli.config import ExportOptions


@with_options
def view(
    run: Run,
    out: Annotated[Path | None, output("Keep the page here. Default: a temporary file.")] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")
    ] = True,
    options: Annotated[ExportOptions, CONFIDENCE] = EXPORT,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Send points to the browser frame by frame, for clips too big for one page; until Ctrl-C.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0 = a free one.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a run: points in space and time, cameras, paths, scene flow, a time slider. Prints the page's path.

    The page is one file that needs no server and no network; it can be sent to others (also `dpm export --to html`).
    Its address may end in #frame=12 or #through to begin at that frame or through the camera. H shows its keys.
    With --serve the address is printed instead; it works on this machine only.

    [bold]Examples[/bold]

      dpm view video_dpm

      dpm view video_dpm --no-browser -o scene.html

      dpm view long_dpm --serve
    """
    import json
    import tempfile
    import webbrowser

    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import export_sequence
    from dpm_cli.sequence import Sequence4D

    sequence = Sequence4D.open(run)
    told = reporter(quiet)
    options = replace(options, reporter=told)
    if serve:
        _serve(sequence, options, port, browser, as_json)
        return
    path = out or Path(tempfile.mkdtemp(prefix="dpm_view_")) / f"{sequence.name}.html"
    page = export_sequence(sequence, "html", path, options, overwrite=overwrite)
    opened = browser and webbrowser.open(page.path.resolve().as_uri())
    if browser and not opened:
        told.note("no browser was found here: open the page yourself")
    if as_json:
        emit(json.dumps({"path": str(page.path), "bytes": page.bytes, "opened": opened}))
    else:
        emit(str(page.path))


def _serve(sequence, options: ExportOptions, port: int, browser: bool, as_json: bool) -> None:
    """Print the address and answer until the user presses Ctrl-C."""
    import json
    import sys
    import webbrowser

    from dpm_cli.cli.console import emit
    from dpm_cli.export.viewer_server import ViewerServer

    with ViewerServer(sequence, options, port) as server:
        emit(json.dumps({"url": server.url}) if as_json else server.url)
        sys.stdout.flush()
        if browser and not webbrowser.open(server.url):
            options.reporter.note("no browser was found here: open the address yourself")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            options.reporter.note("stopped")
