"""`dpm report`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
def report(
    run: Run,
    out: Annotated[Path | None, output("Page to write. Default: <run>_report.html.")] = None,
    options: Annotated[ExportOptions, CONFIDENCE] = EXPORT,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one web page about a run: pictures, the camera's path, numbers, notes and warnings. Prints its path.

    The page needs no server, no network and no script (also `dpm export --to report`).

    [bold]Examples[/bold]

      dpm report video_dpm

      dpm report video_dpm -o about.html
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import export_sequence
    from dpm_cli.sequence import Sequence4D

    options = replace(options, reporter=reporter(quiet))
    page = export_sequence(Sequence4D.open(run), "report", out, options, overwrite=overwrite)
    if as_json:
        emit(json.dumps({"path": str(page.path), "bytes": page.bytes}))
    else:
        emit(str(page.path))
