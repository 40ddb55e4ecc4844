"""`dpm flow`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import CLIP, RUN, setting


def flow(
    image_a: Annotated[Path, typer.Argument(metavar="A", help="First image.")],
    image_b: Annotated[Path, typer.Argument(metavar="B", help="Second image, of the same size.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the result.")
    ] = None,
    model: Annotated[str, setting("model")] = RUN.model,
    weights: Annotated[str | None, setting("weights")] = RUN.weights,
    device: Annotated[str, setting("device")] = RUN.device,
    dtype: Annotated[str, setting("dtype")] = RUN.dtype,
    prior: Annotated[str, setting("prior")] = RUN.prior,
    prior_kind: Annotated[str, setting("prior_kind")] = RUN.prior_kind,
    size: Annotated[int | None, setting("size", of=CLIP, min=32)] = CLIP.size,
    crop: Annotated[str, setting("crop", of=CLIP)] = CLIP.crop,
    fov: Annotated[float | None, setting("fov_deg", "--fov")] = RUN.fov_deg,
    intrinsics: Annotated[str | None, setting("intrinsics")] = RUN.intrinsics,
    intrinsics_size: Annotated[str | None, setting("intrinsics_size")] = None,
    motion_threshold: Annotated[
        float, setting("motion_threshold", min=0, max=1)
    ] = RUN.motion_threshold,
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
    from dpm_cli.config import ClipSettings, ReconstructSettings, parse_prior_kind, parse_size
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
        prior=prior,
        prior_kind=parse_prior_kind(prior_kind),
        motion_threshold=motion_threshold,
    )
    folder = output or Path(f"{image_a.stem}_{image_b.stem}_flow")
    result = flow_of_pair(
        image_a, image_b, folder, settings, overwrite=overwrite, reporter=reporter(quiet)
    )
    emit(json.dumps(result) if as_json else result["run"])
