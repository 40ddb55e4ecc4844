"""`dpm flow`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import OUT, RUN, Json, Quiet, fields, output, with_options
from dpm_cli.config import ReconstructSettings

SETTINGS = fields(
    Output=("motion_threshold",),
    Model=("model", "weights", "device", "dtype", "max_memory", "prior", "prior_kind", "size"),
    Camera=("crop", "fov_deg", "intrinsics", "intrinsics_size", "flow_dir"),
)


@with_options
def flow(
    image_a: Annotated[Path, typer.Argument(metavar="A", help="First image.")],
    image_b: Annotated[Path, typer.Argument(metavar="B", help="Second image, of the same size.")],
    out: Annotated[Path | None, output("Folder of the result.")] = None,
    settings: Annotated[ReconstructSettings, SETTINGS] = RUN,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace another result in the folder.", rich_help_panel=OUT
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Optical flow, scene flow, motion masks, depth and the relative camera of two images.

    Writes flow.npz (the arrays of a clip of two frames), fwd.flo, bwd.flo, matches.npz, dpm.json and pictures.

    [bold]Examples[/bold]

      dpm flow frame_000.png frame_008.png

      dpm flow a.jpg b.jpg -o pair --fov 70 --json
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.pair_flow import flow_of_pair

    folder = out or Path(f"{image_a.stem}_{image_b.stem}_flow")
    result = flow_of_pair(
        image_a, image_b, folder, settings, overwrite=overwrite, reporter=reporter(quiet)
    )
    emit(json.dumps(result) if as_json else result["run"])
