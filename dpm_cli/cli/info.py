"""`dpm info`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dpm_cli.cli.options import Json


def info(
    path: Annotated[
        Path, typer.Argument(help="A video, image folder, run, npz file or checkpoint.")
    ],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every file of a run and compare it with its checksum."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what a video, a run or a checkpoint holds.

    [bold]Examples[/bold]

      dpm info video.mp4

      dpm info video_dpm --json

      dpm info video_dpm --verify

      dpm info model.safetensors
    """
    from dpm_cli.cli.console import emit

    facts = _verified(path) if verify else _describe(path)
    if as_json:
        emit(json.dumps(facts))
    else:
        width = max(len(key) for key in facts)
        for key, value in facts.items():
            emit(f"{key:<{width}}  {_text(value)}")
    if verify and facts["damaged"]:
        raise typer.Exit(1)


def _verified(path: Path) -> dict[str, Any]:
    from dpm_cli.sequence import verify_run

    return verify_run(path)


def _describe(path: Path) -> dict[str, Any]:
    """Ask the part of dpm that knows this kind of path."""
    if path.suffix.lower() in (".safetensors", ".pth", ".pt"):
        from dpm_cli.weights.inspect import describe

        return describe(path)
    if path.suffix.lower() == ".npz" or _is_run(path):
        from dpm_cli.sequence import describe_sequence

        return describe_sequence(path)
    from dpm_cli.video.describe import describe_images, describe_video
    from dpm_cli.video.inputs import is_image

    return describe_images(path) if path.is_dir() or is_image(path) else describe_video(path)


def _is_run(path: Path) -> bool:
    return (path / "dpm.json").is_file() or (path / "cameras.npz").is_file()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
