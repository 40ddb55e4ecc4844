"""`dpm synth`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import Json, Overwrite, Quiet, fields, with_options
from dpm_cli.workshop.settings import SynthSettings

SETTINGS = fields(
    Scenes=("split", "index", "clips", "camera"),
    Pictures=("frames", "size", "fps", "supersample"),
    Output=("form", "device", "compile"),
)


@with_options
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write, or an .mp4 for a single clip.")],
    settings: Annotated[SynthSettings, SETTINGS] = SynthSettings(),
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Render dynamic scenes with exact ground truth, and print where they are.

    Beside each clip lies NAME_truth.npz: the arrays of `dpm export --to npz`, exact, and the objects' poses.

    [bold]Examples[/bold]

      dpm synth scenes --split test --clips 20 --frames 24 --size 288x384

      dpm synth demo.mp4 --index 1580 --camera dolly --frames 36 --size 288x432 --supersample 2

      dpm synth frames --format frames --clips 3 --json
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.workshop.synthetic.files import render_files

    written = render_files(out, settings, overwrite=overwrite, reporter=reporter(quiet))
    if as_json:
        rows = [{"clip": str(w.clip), "truth": str(w.truth), "seed": w.seed} for w in written]
        emit(json.dumps({"frames": settings.frames, "clips": rows}))
    else:
        emit(str(out))
