"""`dpm flow`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def flow(
    image_a: Annotated[Path, typer.Argument(metavar="A", help="First image.")],
    image_b: Annotated[Path, typer.Argument(metavar="B", help="Second image, of the same size.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the result.")
    ] = None,
    model: Annotated[
        str, typer.Option(envvar="DPM_MODEL", help="auto, geometric, dpm-mini, dpm-large or vdpm.")
    ] = "auto",
    weights: Annotated[
        str | None, typer.Option(envvar="DPM_WEIGHTS", help="Weights file for the model.")
    ] = None,
    device: Annotated[
        str, typer.Option(envvar="DPM_DEVICE", help="auto, cpu, cuda or mps.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(envvar="DPM_DTYPE", help="auto, float32, bfloat16 or float16.")
    ] = "auto",
    prior: Annotated[
        str,
        typer.Option(
            envvar="DPM_PRIOR",
            help="Depth prior: auto, none, moge-2-small (-base, -large), or a folder of two depth maps.",
        ),
    ] = "auto",
    prior_kind: Annotated[
        str, typer.Option(help="What the maps of a folder hold: depth, inverse or metric.")
    ] = "depth",
    size: Annotated[
        int | None, typer.Option(min=32, help="Long side of the working images, pixels.")
    ] = None,
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view of the source, degrees.")
    ] = None,
    intrinsics: Annotated[
        str | None, typer.Option(help="fx,fy,cx,cy in source pixels, or a file with them.")
    ] = None,
    motion_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Motion score that counts as moving.")
    ] = 0.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another result in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Optical flow, scene flow, motion masks, depth and the relative camera of two images.

    Writes flow.npz (the arrays of a clip of two frames), fwd.flo, bwd.flo, matches.npz, dpm.json and pictures.

    [bold]Examples[/bold]

      dpm flow frame_000.png frame_008.png

      dpm flow a.jpg b.jpg -o pair --fov 70 --json
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.config import ClipSettings, ReconstructSettings, parse_prior_kind
    from dpm_cli.pair_flow import flow_of_pair

    settings = ReconstructSettings(
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        clip=ClipSettings(size=size),
        fov_deg=fov,
        intrinsics=intrinsics,
        prior=prior,
        prior_kind=parse_prior_kind(prior_kind),
        motion_threshold=motion_threshold,
    )
    folder = output or Path(f"{image_a.stem}_{image_b.stem}_flow")
    result = flow_of_pair(
        image_a, image_b, folder, settings, overwrite=overwrite, reporter=reporter(quiet)
    )
    emit(json.dumps(result) if as_json else result["run"])
