"""`dpm objects`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from dpm_cli.cli.options import (
    CONFIDENCE,
    EXPORT,
    Json,
    MotionThreshold,
    Overwrite,
    Quiet,
    Run,
    output,
    with_options,
)
from dpm_cli.config import ExportOptions


@with_options
def objects(
    run: Run,
    out: Annotated[Path | None, output("Folder to write. Default: <run>_objects.")] = None,
    motion_threshold: MotionThreshold = None,
    options: Annotated[ExportOptions, CONFIDENCE] = EXPORT,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
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
    from dpm_cli.export import export_sequence
    from dpm_cli.sequence import Sequence4D

    options = replace(options, reporter=reporter(quiet))
    sequence = Sequence4D.open(run, motion_threshold)
    result = export_sequence(sequence, "objects", out, options, overwrite=overwrite)
    if as_json:
        told = json.loads((result.path / "objects.json").read_text(encoding="utf-8"))
        emit(json.dumps({"path": str(result.path), "bytes": result.bytes, **told}))
    else:
        emit(str(result.path))
