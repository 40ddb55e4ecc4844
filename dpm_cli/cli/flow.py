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
    size: Annotated[
        int | None, typer.Option(min=32, help="Long side of the working images, pixels.")
    ] = None,
    crop: Annotated[
        str,
        typer.Option(
            help="auto leaves bars out, none keeps all, x,y,w,h (source pixels) is the picture."
        ),
    ] = "auto",
    fov: Annotated[
        float | None,
        typer.Option(help="Horizontal field of view of the picture (without bars), degrees."),
    ] = None,
    intrinsics: Annotated[
        str | None, typer.Option(help="fx,fy,cx,cy in source pixels, or a file with them.")
    ] = None,
    intrinsics_size: Annotated[
        str | None,
        typer.Option(help="W,H of the pictures that --intrinsics are for, if others."),
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
    from dpm_cli.config import ClipSettings, ReconstructSettings, parse_size
    from dpm_cli.pair_flow import flow_of_pair

    settings = ReconstructSettings(
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        clip=ClipSettings(size=size, crop=crop),
        fov_deg=fov,
        intrinsics=intrinsics,
        intrinsics_size=parse_size(intrinsics_size) if intrinsics_size else None,
        motion_threshold=motion_threshold,
    )
    folder = output or Path(f"{image_a.stem}_{image_b.stem}_flow")
    result = flow_of_pair(
        image_a, image_b, folder, settings, overwrite=overwrite, reporter=reporter(quiet)
    )
    emit(json.dumps(result) if as_json else result["run"])
