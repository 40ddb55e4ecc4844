"""`dpm objects`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import RUN, setting


def objects(
    run: Annotated[Path, typer.Argument(help="Run folder, or an npz of dpm export.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write. Default: <run>_objects."),
    ] = None,
    motion_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Motion score that counts as moving. Default: the run's."),
    ] = None,
    min_confidence: Annotated[float, setting("min_confidence", min=0)] = RUN.min_confidence,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Follow what moves by itself as separate objects, and print the folder with them.

    For every object: which pixels are its own in every frame, a rigid pose a frame (world from object), size, colour,
    rigid or soft. The folder holds objects.json, objects.npz, objects.glb, a TUM path each and masks (also
    `dpm export --to objects`). Objects end at cuts and where they are hidden; what touches and moves together is one.

    [bold]Examples[/bold]

      dpm objects video_dpm

      dpm objects video_dpm -o objects --motion-threshold 0.7 --json
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.export import ExportOptions, export_sequence
    from dpm_cli.sequence import Sequence4D

    options = ExportOptions(
        min_confidence=min_confidence,
        reporter=reporter(quiet),
    )
    result = export_sequence(
        Sequence4D.open(run, motion_threshold), "objects", output, options, overwrite=overwrite
    )
    if as_json:
        told = json.loads((result.path / "objects.json").read_text(encoding="utf-8"))
        emit(json.dumps({"path": str(result.path), "bytes": result.bytes, **told}))
    else:
        emit(str(result.path))
